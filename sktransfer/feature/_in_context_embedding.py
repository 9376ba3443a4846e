"""InContextEmbedding."""

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from sktransfer.backbones.tables._foundation_models import explain_weights, make_foundation_model
from sktransfer.backbones.tables._row_embeddings import has_embeddings, read_embeddings
from sktransfer.domain import SourceDomain, check_domains, stack_labels, stack_rows
from sktransfer.utils._sklearn import check_feature_names_in, safe_indexing
from sktransfer.utils._validation import check_count


class InContextEmbedding(TransformerMixin, BaseEstimator):
    """Transformer that gives what a foundation model of tables holds of each row.

    TabPFN and TabICL are not trained on a table: they take its labelled rows as context, beside
    the rows that they are asked about. What they make of a row before they predict is a vector
    that knows the task, and any estimator learns from it.

    A row that is in the context itself knows its own label, so that what it becomes says nothing
    about new rows. `fit_transform` therefore cuts the training rows into folds, and gives those of
    each fold with the others as context [1]_; `transform` has all of them as context. Pipelines
    and searches call `fit_transform` where it is right.

    Parameters
    ----------
    backbone : {"tabpfn", "tabicl"} or estimator, default=None
        Made by name it has one member. Or an estimator of one of these libraries, of any
        parameters, which is cloned, never fitted itself; or another one with
        ``get_embeddings(X, data_source="test")``. Classifier or regressor goes by y for names:
        numbers with fractions are regression. None: the features are the input.
    source : SourceDomain, default=None
        Rows with labels that are put in the context besides: of the same columns, with the same
        kind of label. For a source with another label, see Notes.
    cv : int, default=5
        Number of folds of `fit_transform`, whose models are fitted one after the other.
    random_state : int, RandomState instance or None, default=None
        What is in which fold, and the seed of a model made by name.

    Attributes
    ----------
    backbone_ : estimator
        Fitted to all training rows and the source; None with ``backbone=None``.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Only if X had column names.

    Raises
    ------
    ImportError
        If the library is not installed: ``pip install "sktransfer[tabpfn]"`` or
        ``"sktransfer[tabicl]"``.
    RuntimeError
        If the weights of a model made by name cannot be loaded. Mind their licences: those of
        TabPFN 2.5 and later are not for commercial use.

    Notes
    -----
    ``fit(X, y).transform(X)`` differs from ``fit_transform(X, y)``: there each row finds itself
    in the context.

    A model that was fitted on the source alone needs no folds, whatever its label:
    ``FeatureTransferTransformer(FrozenEstimator(TabPFNClassifier().fit(X_source, y_source)))``
    gives its embeddings of target rows, and ``output="logits"`` what it says.

    Of several members of a model the embeddings are averaged.

    References
    ----------
    .. [1] Ye, Liu and Chao, "A Closer Look at TabPFN v2: Strength, Limitation, and Extension",
       2025, arXiv:2502.17361.

    Examples
    --------
    With an estimator of one's own in place of TabPFN; ``"tabpfn"`` is used the same way.

    >>> import numpy as np
    >>> from sklearn.base import BaseEstimator
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sktransfer import InContextEmbedding
    >>> class ClassMeans(BaseEstimator):
    ...     def fit(self, X, y):
    ...         self.means_ = np.stack([X[y == c].mean(axis=0) for c in np.unique(y)])
    ...         return self
    ...
    ...     def get_embeddings(self, X, data_source="test"):
    ...         return ((X[:, None] - self.means_) ** 2).sum(axis=2)
    >>> X, y = load_iris(return_X_y=True)
    >>> embedding = InContextEmbedding(ClassMeans(), random_state=0)
    >>> embedding.fit_transform(X, y).shape
    (150, 3)
    >>> make_pipeline(embedding, LogisticRegression()).fit(X, y).score(X, y) > 0.9
    True
    """

    def __init__(self, backbone=None, *, source=None, cv=5, random_state=None):
        self.backbone = backbone
        self.source = source
        self.cv = cv
        self.random_state = random_state

    def fit(self, X, y=None):
        """Put the rows in the context of the model.

        Parameters
        ----------
        X : array-like of shape (n, d) or frame
            Passed on as it comes: both libraries take missing values and categories.
        y : array-like of shape (n,)
            Classes or numbers.

        Returns
        -------
        self : object
        """
        X, y = self._check(X, y)
        if self.backbone is None:
            self.backbone_ = None
            return self
        seed = self._draw_seeds()[1]
        self._set_fitted(self._fit_model(X, y, seed), X)
        return self

    def fit_transform(self, X, y=None):
        """Put the rows in the context, and return their embeddings out of fold.

        Parameters
        ----------
        X, y
            See `fit`.

        Returns
        -------
        embeddings : ndarray of shape (n, n_features_out), float32
            Of each row with the rows of the other folds, and the source, as context.
        """
        X, y = self._check(X, y)
        if self.backbone is None:
            self.backbone_ = None
            return X
        order_seed, seed = self._draw_seeds()
        fold_of = self._assign_folds(y, order_seed)
        embeddings = None
        for fold in range(fold_of.max() + 1):
            inside = np.flatnonzero(fold_of != fold)
            held_out = np.flatnonzero(fold_of == fold)
            model = self._fit_model(safe_indexing(X, inside), y[inside], seed)
            found = read_embeddings(model, safe_indexing(X, held_out))
            if embeddings is None:
                embeddings = np.empty((len(y), found.shape[1]), dtype=np.float32)
            embeddings[held_out] = found
        self._set_fitted(self._fit_model(X, y, seed), X)
        return embeddings

    def transform(self, X):
        """Return embeddings of new rows, with all training rows as context.

        Parameters
        ----------
        X : array-like of shape (n, d) or frame

        Returns
        -------
        embeddings : ndarray of shape (n, n_features_out), float32
        """
        check_is_fitted(self)
        if self.backbone_ is None:
            return validate_data(self, X, reset=False)
        X = _as_table(X)
        validate_data(self, X, reset=False, skip_check_array=True)
        return read_embeddings(self.backbone_, X)

    def get_feature_names_out(self, input_features=None):
        """Return ``embedding_<i>``, or the names of the input with ``backbone=None``.

        Parameters
        ----------
        input_features : array-like of str, default=None

        Returns
        -------
        names : ndarray of str
        """
        check_is_fitted(self)
        if self.backbone_ is None:
            return check_feature_names_in(self, input_features)
        return np.array([f"embedding_{i}" for i in range(self._n_features_out)], dtype=object)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = self.backbone is not None
        tags.input_tags.allow_nan = self.backbone is not None
        tags.transformer_tags.preserves_dtype = []
        return tags

    def _check(self, X, y):
        check_count("cv", self.cv, low=2)
        if self.source is not None and not isinstance(self.source, SourceDomain):
            raise TypeError(
                f"Got source={self.source!r}, but expected SourceDomain(X_source, y_source)."
            )
        if self.backbone is None:
            return validate_data(self, X), y
        if y is None:
            raise ValueError(
                "Got y=None, but the model takes labelled rows as context; expected y. (This "
                "estimator requires y to be passed, but the target y is None.)"
            )
        X, y = _as_table(X), np.asarray(y)
        validate_data(self, X, skip_check_array=True)
        check_consistent_length(X, y)
        if y.ndim != 1:
            raise ValueError(f"Got y of shape {y.shape}, but expected one label a row (1-D).")
        if self.source is not None:
            self._check_source(X)
        return X, y

    def _check_source(self, X):
        if self.source.y is None:
            raise ValueError(
                f"Got source={self.source!r}, but rows in the context need labels; expected "
                "SourceDomain(X_source, y_source)."
            )
        if self.source.sample_weight is not None:
            raise ValueError(
                f"Got source={self.source!r}, but rows in a context have no weights; expected a "
                "source without sample_weight, of the rows that count."
            )
        check_domains(X, self.source)

    def _draw_seeds(self):
        """Return the seed of the folds and that of the model, both anew for each fit."""
        generator = check_random_state(self.random_state)
        return generator.randint(np.iinfo(np.int32).max, size=2).tolist()

    def _assign_folds(self, y, seed):
        """Return the fold of each row: as many of each class, or of each range of numbers."""
        order = np.random.RandomState(seed).permutation(len(y))
        order = order[np.argsort(y[order], kind="stable")]
        n_folds = min(self.cv, len(y))
        if n_folds < 2:
            raise ValueError(
                f"Got X with {len(y)} sample(s), but fit_transform needs at least 2: rows are "
                "embedded with others as context."
            )
        fold_of = np.empty(len(y), dtype=int)
        fold_of[order] = np.arange(len(y)) % n_folds
        return fold_of

    def _fit_model(self, X, y, seed):
        """Return a new model with these rows, and those of the source, as context."""
        model = self._make_model(y, seed)
        if self.source is not None:
            X, y = stack_rows(X, self.source.X), stack_labels(y, self.source.y)
        if not isinstance(self.backbone, str):
            return model.fit(X, y)
        try:
            return model.fit(X, y)
        except Exception as error:
            explain_weights(self.backbone, error)
            raise

    def _make_model(self, y, seed):
        if isinstance(self.backbone, str):
            is_classification = not type_of_target(y).startswith("continuous")
            return make_foundation_model(
                self.backbone, is_classification=is_classification, random_state=seed
            )
        if not has_embeddings(self.backbone):
            raise TypeError(
                f"Got backbone={self.backbone!r}, but expected 'tabpfn', 'tabicl', one of their "
                "estimators, or another one with get_embeddings(X, data_source='test'). What any "
                "fitted estimator predicts is for FeatureTransferTransformer."
            )
        return clone(self.backbone)

    def _set_fitted(self, model, X):
        self.backbone_ = model
        self._n_features_out = read_embeddings(model, safe_indexing(X, slice(0, 2))).shape[1]


def _as_table(X):
    """Return X as something with a shape, frames as they are."""
    return X if hasattr(X, "shape") else np.asarray(X)
