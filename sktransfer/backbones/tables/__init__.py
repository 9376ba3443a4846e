"""Networks of tables: columns by name, missing values and categories, encoded rows."""
