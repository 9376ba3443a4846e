"""Guarded transfer: held-out rows decide how much fine-tuning, and how much transfer at all."""

import dataclasses
import warnings

import numpy as np
import torch

from sktransfer.backbones._activations import compute_activations
from sktransfer.backbones._random_copy import make_random_copy
from sktransfer.exceptions import NegativeTransferWarning
from sktransfer.training._candidates import (
    BesideInput,
    FromLinearProbe,
    FromRandomHead,
    FrozenBackbone,
    Prototypes,
    SourceHeadAsItIs,
    WithoutTransfer,
    fit_probe,
)
from sktransfer.training._members import FittedModel, average_outputs
from sktransfer.training._objectives import split_distinct
from sktransfer.training._stacking import HeldOut, fit_temperature, fit_weights
from sktransfer.training._strategies import Frozen

N_FOLDS = 3
# Candidates of less weight are left out of the average: they cost predictions more than they give.
_LEAST_WEIGHT = 0.05
# Transfer that loses less than this is not worth a warning.
_LEAST_LOSS = 1e-3
# The prior on the weights is worth so many rows; from so many rows on, fine-tuned candidates have
# more than half of their share of it.
_PRIOR_ROWS, _TRUSTED_FROM = 5.0, 20.0


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What held-out rows said.

    Parameters
    ----------
    oof_loss : dict of str to float
        Out-of-fold loss of each candidate.
    weights : dict of str to float
        Of the members of the average.
    gains : dict of str to Gain
        Of transfer against each model without.
    temperatures : dict of str to float
        What divides the outputs of each member.
    """

    oof_loss: dict
    weights: dict
    gains: dict
    temperatures: dict


def compute_prior(candidates, n_rows):
    """Return the pseudo-counts of rows for which candidates stand before there is evidence.

    At few rows the fine-tuned ones have less of it, and the frozen ones what they lose.
    """
    trust = n_rows / (n_rows + _TRUSTED_FROM)
    shares = {c.name: c.share * (trust if c.moves_backbone else 1.0) for c in candidates}
    rest = 1.0 - sum(shares.values())
    frozen = [name for name in shares if name.startswith("frozen")]
    total = sum(shares[name] for name in frozen)
    for name in frozen:
        shares[name] += rest * shares[name] / total
    return [_PRIOR_ROWS * share for share in shares.values()]


class Guarded:
    """An average of candidates, weighted by held-out predictions and refitted on all rows."""

    candidates = (
        WithoutTransfer(0.05),
        FrozenBackbone(0.20),
        Prototypes(0.15),
        FromLinearProbe(0.25),
        FromRandomHead(0.35),
    )
    # The columns of a table, unlike pixels, say much by themselves; and what the source says of
    # them is worth much where rows are few. Networks of tables are small, and gain little by a
    # second fine-tuning.
    candidates_of_tables = (
        WithoutTransfer(0.20),
        FrozenBackbone(0.15),
        SourceHeadAsItIs(0.30),
        BesideInput(0.20),
        FromLinearProbe(0.15),
    )

    def fit(self, rows, settings):
        folds = split_distinct(
            settings.objective, rows.targets, rows.features, N_FOLDS, settings.seed
        )
        if not folds or not settings.backbone.n_parameters:
            return Frozen().fit(rows, settings)
        # A warm start has seen all rows, also those that are to be held out.
        settings = settings.replace(budget_of=len(rows), warm_start=None)
        takes_tables = settings.backbone.input.takes_frames
        offered = self.candidates_of_tables if takes_tables else self.candidates
        candidates = [candidate for candidate in offered if candidate.suits(settings)]
        held_out = _hold_out(rows, folds, settings.objective)
        outputs, temperatures = {}, {}
        for candidate in candidates:
            variants = _predict_held_out(candidate, rows, settings, folds)
            scales = {name: fit_temperature(o, held_out) for name, o in variants.items()}
            variants = {name: o / scales[name] for name, o in variants.items()}
            best = min(variants, key=lambda name, of=variants: held_out.mean_loss(of[name]))
            outputs[best], temperatures[best] = variants[best], scales[best]
        prior = compute_prior(candidates, len(rows))
        weights = fit_weights(list(outputs.values()), prior, held_out)
        weights = _leave_out_small(dict(zip(outputs, weights.tolist(), strict=True)))
        evidence = _weigh(outputs, weights, temperatures, held_out, rows, settings, folds)
        fitted = {
            name: candidate.fit(rows, settings)
            for candidate, name in zip(candidates, outputs, strict=True)
            if name in weights
        }
        model = FittedModel(
            tuple(
                variants.makers[name]().calibrated(temperatures[name])
                for name, variants in fitted.items()
            ),
            tuple(weights.values()),
            evidence=evidence,
        )
        main = fitted[model.main.name]
        return dataclasses.replace(
            model, net=main.net, param_groups=main.param_groups, prefix=main.prefix
        )


def _hold_out(rows, folds, objective):
    order = np.concatenate([test for _, test in folds])
    weight = torch.from_numpy(rows.sample_weight[order])
    targets = torch.from_numpy(rows.targets[order].astype(np.float64))
    return HeldOut(targets, weight / weight.mean(), objective)


def _predict_held_out(candidate, rows, settings, folds):
    """Return the held-out outputs of each variant of a candidate, fold after fold."""
    outputs = {}
    for train, test in folds:
        for name, make_member in candidate.fit(rows.take(train), settings).makers.items():
            member = make_member()
            features = rows.features[test]
            if member.backbone is not settings.backbone:
                features = member.compute_features(
                    rows.X[test], settings.image_shape, settings.options.device
                )
            outputs.setdefault(name, []).append(member.compute_outputs(features))
    return {name: torch.cat(parts) for name, parts in outputs.items()}


def _leave_out_small(weights):
    kept = {name: weight for name, weight in weights.items() if weight >= _LEAST_WEIGHT}
    total = sum(kept.values())
    return {name: weight / total for name, weight in kept.items()}


def _weigh(outputs, weights, temperatures, held_out, rows, settings, folds):
    """Return the evidence, and warn where transfer loses."""
    objective = held_out.objective
    average = _average(outputs, weights, objective)
    transferred = {name: weight for name, weight in weights.items() if name != "no_transfer"}
    with_transfer = average
    if not transferred:
        with_transfer = min(
            (o for name, o in outputs.items() if name != "no_transfer"), key=held_out.mean_loss
        )
    elif "no_transfer" in weights:
        with_transfer = _average(outputs, transferred, objective)
    controls = {
        "no_transfer": outputs["no_transfer"],
        "random_backbone": _predict_with_random_backbone(held_out, rows, settings, folds),
    }
    gains = {name: held_out.compare(with_transfer, o) for name, o in controls.items()}
    oof_loss = {name: held_out.mean_loss(o) for name, o in (outputs | controls).items()}
    oof_loss["average"] = held_out.mean_loss(average)
    used = {name: temperatures[name] for name in weights}
    evidence = Evidence(oof_loss, weights, gains, used)
    losing = {
        name: gain
        for name, gain in gains.items()
        if gain.mean < -max(gain.standard_error, _LEAST_LOSS)
    }
    if losing:
        _warn(losing, held_out.mean_loss(with_transfer), evidence, objective)
    return evidence


def _average(outputs, weights, objective):
    total = sum(weights.values())
    shares = [weight / total for weight in weights.values()]
    return average_outputs([outputs[name] for name in weights], shares, objective)


_CONTROLS = {
    "no_transfer": "a linear model on the input alone",
    "random_backbone": "the same network with random weights",
}


def _warn(losing, loss, evidence, objective):
    beaten_by = " and ".join(
        f"{evidence.oof_loss[name]:.3f} for {_CONTROLS[name]} (gain of transfer {gain})"
        for name, gain in losing.items()
    )
    share = evidence.weights.get("no_transfer", 0.0)
    warnings.warn(
        f"Transfer loses: the held-out {objective.loss_name} is {loss:.3f} with the backbone, and "
        f"{beaten_by}. Predictions are an average in which the linear model on the input has "
        f"weight {share:.2f}; use it alone, or another backbone.",
        NegativeTransferWarning,
        stacklevel=2,
    )


def _predict_with_random_backbone(held_out, rows, settings, folds):
    control = make_random_copy(settings.backbone)
    (features,) = compute_activations(
        control,
        rows.X,
        image_shape=settings.image_shape,
        device=settings.options.device,
        cache=settings.cache,
        cache_dir=settings.cache_dir,
    )
    outputs = []
    for train, test in folds:
        seen = rows.take(train)
        probe = fit_probe(features[train], seen, settings)
        outputs.append(torch.from_numpy(probe.compute_outputs(features[test])))
    outputs = torch.cat(outputs)
    return outputs / fit_temperature(outputs, held_out)
