from sktransfer.backbones.tables._category_column import CategoryColumn
from sktransfer.backbones.tables._column import Column


def learn(values):
    return CategoryColumn.learn("a", Column.of_objects(values))


def test_the_vocabulary_is_sorted_and_of_keys():
    assert learn(["b", "a", 1.0, "1", None, " a"]).categories == ("1", "a", "b")


def test_codes():
    column = learn(["a", "b"])
    assert column.encode(Column.of_objects(["b", "c", None, "a"])).tolist() == [2, 0, 0, 1]


def test_a_column_of_no_values_knows_none():
    column = learn([None, None])
    assert column.categories == ()
    assert column.encode(Column.of_objects(["a", None])).tolist() == [0, 0]


def test_what_is_unknown():
    column = learn(["a", "b"])
    n_present, n_unknown, examples = column.find_unknown(
        Column.of_objects(["a", "x", "y", None, "x"])
    )
    assert (n_present, n_unknown) == (4, 3)
    assert examples == ["x", "y"]
