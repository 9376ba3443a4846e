"""Weights from the shares of the classes."""

import numpy as np
from scipy.optimize import minimize, nnls
from scipy.special import log_softmax
from scipy.stats import chi2, chi2_contingency
from sklearn.base import clone
from sklearn.utils import check_random_state, gen_batches
from sklearn.utils.multiclass import type_of_target

from sktransfer.domain import is_frame, stack_labels, stack_rows, take_rows
from sktransfer.instance._base import BaseWeighting
from sktransfer.instance._cross_fitting import identify_rows
from sktransfer.instance._default_classifiers import list_classifiers
from sktransfer.instance._matrix import as_matrix
from sktransfer.utils._threads import few_threads
from sktransfer.utils._validation import check_count, check_number, check_option

__all__ = ["LabelShiftWeighting"]

EPS = 1e-9  # probabilities closer to 0 than this are beyond what held-out rows can show
MANY_VALUES = 100_000  # of a matrix and its classes, from which boosting takes minutes
CHUNK = 100_000  # rows predicted at a time: bounds the memory that products of columns take
SIGNIFICANCE = 0.05
MAX_STEPS = 10_000
TOLERANCE = 1e-9


class LabelShiftWeighting(BaseWeighting):
    r"""Weight source rows by how much more frequent their class is in the target.

    Where the classes look alike in both domains and only their shares differ, as with a disease
    that is rarer elsewhere, the density ratio of a row is that of its class,

    .. math:: w(x, y) = p_{target}(y) / p_{source}(y)

    The shares of the target come from ``y_target`` where it is given: its counts, smoothed. An
    unlabelled target needs a classifier, fitted on the source, whose predictions of held-out
    source rows tell how it errs:

    - ``"em"`` [1]_: the shares that make its calibrated probabilities of the target rows most
      likely. The calibration, a temperature and an intercept for each class [2]_, matters more
      than the classifier.
    - ``"bbse"`` [3]_: the shares that, with its confusion matrix, give the predictions that it
      makes of the target. It asks for no probabilities that are right, but for more rows.

    Both keep the shares of the source where a test (of the likelihood ratio, or chi-squared)
    finds nothing at the 5 % level that speaks against them: without label shift, and with a
    classifier that cannot tell, all weights are equal.

    It needs ``y_source``, with classes. Classes that only the target has are left out of its
    shares, since no source row could stand for them.

    Parameters
    ----------
    classifier : classifier with ``predict_proba`` or None, default=None
        Tells the classes apart; images reach it as flat rows, frames as frames. By default,
        linear and quadratic logistic regression and, for smaller tables, gradient boosting are
        fitted, and the one with the least held-out log loss predicts. Not used with
        ``y_target``.

    method : {"em", "bbse"}, default="em"
        How the shares of an unlabelled target are estimated.

    cv : int, default=5
        Number of folds of the source, at least 2. Equal rows share a fold.

    calibrate : bool, default=True
        Whether "em" calibrates the probabilities on held-out source rows.

    smoothing : float >= 0, default=1.0
        Number of target rows that the shares of the source count as. It keeps the shares of
        classes that few target rows belong to away from 0.

    max_fit_rows : int or None, default=100_000
        Most source rows that a classifier is fitted on, drawn by ``random_state``. None sets no
        bound.

    flatten : float in [0, 1], default=1.0
        Exponent of the ratio: 1 leaves it as it is, 0 makes all weights equal.

    clip : float >= 1 or None, default=None
        Largest weight, as a multiple of the mean weight.

    backbone : Backbone, str, path, torch.nn.Module, fitted estimator or None, default=None
        Network whose activations the classifier is given, see :class:`BaseWeighting`.

    random_state : int, RandomState instance or None, default=None
        Seed of the folds and of the default classifiers.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
        The classes of the source.

    source_shares_, target_shares_ : float64 arrays of shape (n_classes,)
        Shares of the classes in the two domains.

    classifier_ : classifier or None
        The (unfitted) classifier whose predictions were used. None where there was none:
        with ``y_target``, and where no class can be held out; all weights are equal then.

    log_ratio_, effective_sample_size_, max_share_, domain_auc_
        See :class:`BaseWeighting`. Shares of classes that differ alone seldom bring
        ``domain_auc_`` near 1; if it is, the classes do not look alike.

    References
    ----------
    .. [1] Saerens, Latinne and Decaestecker, "Adjusting the outputs of a classifier to new a
       priori probabilities: a simple procedure", Neural Computation, 2002.
    .. [2] Alexandari, Kundaje and Shrikumar, "Maximum likelihood with bias-corrected
       calibration is hard-to-beat at label shift adaptation", International Conference on
       Machine Learning, 2020.
    .. [3] Lipton, Wang and Smola, "Detecting and correcting for label shift with black box
       predictors", International Conference on Machine Learning, 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from sktransfer.instance import LabelShiftWeighting
    >>> y_source = np.repeat(["ill", "well"], [50, 50])
    >>> y_target = np.repeat(["ill", "well"], [2, 18])
    >>> rng = np.random.default_rng(0)
    >>> X_source, X_target = (
    ...     rng.normal(size=(len(y), 2)) + 3 * (y == "ill")[:, None] for y in (y_source, y_target)
    ... )
    >>> weighting = LabelShiftWeighting(random_state=0)
    >>> weights = weighting.compute_weights(X_source, X_target, y_source=y_source)
    >>> weighting.target_shares_.round(1)
    array([0.1, 0.9])
    """

    _compares_rows = True
    _uses_labels = True

    def __init__(
        self,
        classifier=None,
        *,
        method="em",
        cv=5,
        calibrate=True,
        smoothing=1.0,
        max_fit_rows=100_000,
        flatten=1.0,
        clip=None,
        backbone=None,
        random_state=None,
    ):
        super().__init__(flatten=flatten, clip=clip, backbone=backbone)
        self.classifier = classifier
        self.method = method
        self.cv = cv
        self.calibrate = calibrate
        self.smoothing = smoothing
        self.max_fit_rows = max_fit_rows
        self.random_state = random_state

    def _compute_log_weights(self, X_source, X_target, y_source, y_target):
        self._check_parameters(y_source)
        random_state = check_random_state(self.random_state)
        self.classes_, codes = np.unique(y_source, return_inverse=True)
        self.source_shares_ = np.bincount(codes) / len(codes)
        self.classifier_ = None
        if y_target is not None:
            stack_labels(y_target, y_source)  # an error where they are of different kinds
            counts = np.array([np.sum(y_target == label) for label in self.classes_])
            self.target_shares_ = self._smooth(counts)
        else:
            self.target_shares_ = self._estimate_shares(X_source, X_target, codes, random_state)
        with np.errstate(divide="ignore"):
            return np.log(self.target_shares_ / self.source_shares_)[codes]

    def _check_parameters(self, y_source):
        check_option("method", self.method, ("em", "bbse"))
        check_count("cv", self.cv, low=2)
        check_number("smoothing", self.smoothing, low=0)
        if self.max_fit_rows is not None:
            check_count("max_fit_rows", self.max_fit_rows, low=10)
        if self.classifier is not None and not hasattr(self.classifier, "predict_proba"):
            raise TypeError(
                f"Got classifier={self.classifier!r}, but expected a classifier with "
                "predict_proba; wrap it in CalibratedClassifierCV."
            )
        if type_of_target(y_source) == "continuous":
            raise ValueError(
                f"Got y_source with floats such as {y_source[0]!r}, but LabelShiftWeighting "
                "expected classes; use a weighting that goes by the rows, such as "
                "DomainClassifierWeighting."
            )

    def _smooth(self, counts):
        """Return shares from counts of target rows and the shares of the source."""
        smoothed = counts + self.smoothing * self.source_shares_
        total = smoothed.sum()
        return smoothed / total if total > 0 else self.source_shares_

    def _estimate_shares(self, X_source, X_target, codes, random_state):
        n_target, n_source = len(X_target), len(X_source)
        X = stack_rows(X_target, X_source)
        matrix, is_category = as_matrix(X)
        row_ids = identify_rows(matrix)
        # Classifiers see the rows in an order that depends on their content only.
        source_ids = row_ids[n_target:]
        order = np.lexsort((codes, source_ids))
        codes = codes[order]
        folds = _assign_folds(source_ids[order], codes, self.cv, random_state)
        if folds is None:
            return self.source_shares_

        if self.classifier is None:
            X = matrix
            classifiers = list_classifiers(matrix, is_category, random_state)
            if len(classifiers) > 1 and matrix.size * len(self.classes_) > MANY_VALUES:
                classifiers = classifiers[:-1]
        else:
            X = X if is_frame(X) else X.reshape(len(X), -1)
            classifiers = [self.classifier]
        source = take_rows(X, n_target + order)
        target = take_rows(X, np.argsort(row_ids[:n_target], kind="stable"))
        with few_threads(matrix.size):
            predictor = _Predictor(len(self.classes_), self.max_fit_rows, random_state)
            held_out = [predictor.predict_held_out(c, source, codes, folds) for c in classifiers]
            losses = [-log_p[np.arange(n_source), codes].mean() for log_p in held_out]
            best = int(np.argmin(losses))
            self.classifier_ = classifiers[best]
            log_p_target = predictor.fit_and_predict(self.classifier_, source, codes, target)
            if self.method == "bbse":
                return self._solve_confusion(held_out[best], codes, log_p_target)
            return self._maximize_likelihood(held_out[best], codes, log_p_target)

    def _solve_confusion(self, log_p_source, codes, log_p_target):
        """Return the shares that explain the classes predicted in the target.

        Ratios that the confusion matrix leaves open, such as those of classes that are never
        told apart, are drawn to 1.
        """
        n_classes, n_target = len(self.classes_), len(log_p_target)
        confusion = np.zeros((n_classes, n_classes))
        np.add.at(confusion, (log_p_source.argmax(axis=1), codes), 1)
        counts = np.bincount(log_p_target.argmax(axis=1), minlength=n_classes)
        if _is_chance(confusion) or _is_chance(np.array([counts, confusion.sum(axis=1)])):
            return self.source_shares_
        draw = np.sqrt(self.smoothing) / n_target * np.diag(self.source_shares_)
        ratio, _ = nnls(
            np.vstack([confusion / len(codes), draw]),
            np.append(counts / n_target, draw.sum(axis=1)),
            maxiter=100 * n_classes,
        )
        return self._smooth(n_target * ratio * self.source_shares_)

    def _maximize_likelihood(self, log_p_source, codes, log_p_target):
        """Return the shares under which the probabilities of the target rows are most likely."""
        if self.calibrate:
            log_p_target = _calibrate(log_p_source, codes, log_p_target)
        # For the shares in one place, a step costs a product of a matrix and a vector.
        likelihoods = np.exp(log_p_target) / self.source_shares_
        shares = self.source_shares_
        for _ in range(MAX_STEPS):
            joint = likelihoods * shares
            joint /= joint.sum(axis=1, keepdims=True)
            before, shares = shares, self._smooth(joint.sum(axis=0))
            if np.abs(shares - before).max() < TOLERANCE:
                break
        gain = np.log(likelihoods @ shares).sum() - np.log(likelihoods @ self.source_shares_).sum()
        # The likelihoods come from as noisy a sample: their variance adds to that of the target.
        statistic = 2 * gain / (1 + len(log_p_target) / len(codes))
        is_chance = chi2.sf(statistic, len(shares) - 1) > SIGNIFICANCE
        return self.source_shares_ if is_chance else shares


def _is_chance(table):
    """Whether the rows of a table of counts may well have the same shares (chi-squared test)."""
    table = table[table.any(axis=1)][:, table.any(axis=0)]
    return min(table.shape) < 2 or chi2_contingency(table).pvalue > SIGNIFICANCE


def _assign_folds(row_ids, codes, n_folds, random_state):
    """Give each row a fold, so that equal rows share one and the classes are spread.

    Returns None where without some fold there would be a single class.
    """
    ids, first, positions = np.unique(row_ids, return_index=True, return_inverse=True)
    n_folds = min(n_folds, len(ids))
    shuffled = random_state.permutation(len(ids))
    dealt = shuffled[np.argsort(codes[first][shuffled], kind="stable")]
    fold_of_id = np.empty(len(ids), dtype=int)
    fold_of_id[dealt] = np.arange(len(ids)) % n_folds
    folds = fold_of_id[positions]
    if n_folds < 2 or any(len(np.unique(codes[folds != fold])) < 2 for fold in range(n_folds)):
        return None
    return folds


class _Predictor:
    """Fits classifiers of the source and predicts log probabilities of all classes."""

    def __init__(self, n_classes, max_fit_rows, random_state):
        self.n_classes, self.max_fit_rows = n_classes, max_fit_rows
        self.random_state = random_state

    def predict_held_out(self, classifier, X, codes, folds):
        """Predict each fold by a classifier that was fitted on the others."""
        log_p = np.empty((len(codes), self.n_classes))
        for fold in range(folds.max() + 1):
            rest, held_out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
            log_p[held_out] = self.fit_and_predict(
                classifier, take_rows(X, rest), codes[rest], take_rows(X, held_out)
            )
        return log_p

    def fit_and_predict(self, classifier, X, codes, X_new):
        """Predict other rows; classes that ``codes`` lack are next to impossible."""
        if self.max_fit_rows is not None and len(codes) > self.max_fit_rows:
            drawn = self._draw(codes)
            X, codes = take_rows(X, drawn), codes[drawn]
        fitted = clone(classifier).fit(X, codes)
        p = np.zeros((len(X_new), self.n_classes))
        for batch in gen_batches(len(X_new), CHUNK):
            p[batch, fitted.classes_] = fitted.predict_proba(X_new[batch])
        p = np.maximum(p, EPS)
        return np.log(p / p.sum(axis=1, keepdims=True))

    def _draw(self, codes):
        """Draw rows at equal steps of their order by class, so that the shares stay."""
        shuffled = self.random_state.permutation(len(codes))
        by_class = shuffled[np.argsort(codes[shuffled], kind="stable")]
        steps = np.linspace(0, len(codes) - 1, self.max_fit_rows).astype(int)
        return np.sort(by_class[steps])


def _calibrate(log_p_source, codes, log_p_target):
    """Fit a temperature and an intercept for each class to the source; return the target's.

    They apply to the logarithms of likelihoods, that is, of probabilities over shares, so that a
    temperature that stills the classifier leaves the shares of the source.
    """
    n_classes = log_p_source.shape[1]
    is_class = np.eye(n_classes)[codes]
    log_shares = np.log(is_class.mean(axis=0))
    evidence = log_p_source - log_shares

    def penalized_loss(parameters):
        slope, intercepts = parameters[0], parameters[1:]
        log_p = log_softmax(slope * evidence + intercepts + log_shares, axis=1)
        residual = np.exp(log_p) - is_class
        gradient = np.append((residual * evidence).sum(), residual.sum(axis=0))
        # The penalty stands against slopes that few rows suggest.
        loss = -log_p[is_class > 0].sum() + parameters @ parameters / 2
        return loss, gradient + parameters

    start = np.append(1.0, np.zeros(n_classes))
    bounds = [(0, None)] + [(None, None)] * n_classes
    slope, *intercepts = minimize(penalized_loss, start, jac=True, bounds=bounds).x
    calibrated = slope * (log_p_target - log_shares) + intercepts + log_shares
    return log_softmax(calibrated, axis=1)
