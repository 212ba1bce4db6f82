"""Parts of a model for one language each, and an encoder that hides the language of its text.

fairseq's transformer, trained on what `preprocess.mix` made, shares all its parts between all
languages. Here it has a decoder for each target language, or an encoder for each source language,
or both, and shares the rest (Firat et al. 2016; Dong et al. 2015). Those of the first pair keep
fairseq's names, those of others are beside them, so that a plain transformer can be taken out for
any direction (`take_out`).

A discriminator tells the source language from the mean of the encoder's states; its gradient is
reversed, so that the encoder learns to leave nothing to tell it by (Ganin et al. 2016; for
translation Arivazhagan et al. 2019). It is asked about sentences alone whose target language has
several source languages: of others, the tag gives away what they are not, and an encoder that hid
the tag could not say which language to translate into.
"""

import math
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pipeline.errors import RecipeError
from pipeline.lines import read_lines
from preprocess.bitext import PAIRS

Share = Literal["all", "encoder", "decoder", "embeddings"]
_MORE_ENCODERS, _MORE_DECODERS = "more_encoders", "more_decoders"
# Beginnings of the names of parameters that a model of one pair does not have.
PARTS = (_MORE_ENCODERS, _MORE_DECODERS, "discriminator")
# Beside a checkpoint, the pairs that it was trained on.
PAIRS_OF = "pairs.json"


def directions(data: Path) -> list[str]:
    """Pairs of a directory of preprocess.binarise, as es-gl, in the order of the training text.

    Raises RecipeError if its text was not mixed.
    """
    path = data / f"train{PAIRS}"
    if not path.exists():
        raise RecipeError(f"{data} is of one pair of languages; mix several with preprocess.mix")
    return list(dict.fromkeys(read_lines(path)))


def sides(pairs: list[str]) -> tuple[list[str], list[str]]:
    """Source languages and target languages of pairs, those of the first one first."""
    both = [pair.split("-") for pair in pairs]
    return tuple(list(dict.fromkeys(pair[side] for pair in both)) for side in (0, 1))  # type: ignore[return-value]


def take_out(model: dict[str, Tensor], pairs: list[str], direction: str) -> dict[str, Tensor]:
    """Parameters of a plain transformer for a direction, which need not be among the pairs.

    Raises RecipeError if a language of it is not among those of the pairs.
    """
    source, _, target = direction.partition("-")
    plain = {name: value for name, value in model.items() if not name.startswith(PARTS)}
    for language, known, more, part in zip(
        (source, target), sides(pairs), (_MORE_ENCODERS, _MORE_DECODERS),
        ("encoder.", "decoder."), strict=True,
    ):  # fmt: skip
        if language not in known:
            what = "translates from" if part == "encoder." else "translates to"
            raise RecipeError(f"the model {what} {', '.join(known)}, not {language}")
        prefix = f"{more}.{known.index(language) - 1}."
        for name, value in model.items():
            if name.startswith(prefix):
                plain[part + name.removeprefix(prefix)] = value
    return plain


class _Reversed(torch.autograd.Function):
    """The same going forward; going back, the gradient times -weight."""

    @staticmethod
    def forward(context: Any, x: Tensor, weight: float) -> Tensor:
        context.weight = weight
        return x.view_as(x)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -context.weight * gradient, None


def schedule(progress: float, weight: float) -> float:
    """The weight of the reversed gradient at a share `progress` of the training (Ganin's)."""
    return weight * (2 / (1 + math.exp(-10 * min(progress, 1.0))) - 1)


def contested(pairs: list[str]) -> list[str]:
    """Target languages with more than one source language."""
    _, targets = sides(pairs)
    return [code for code in targets if sum(pair.endswith(f"-{code}") for pair in pairs) > 1]


def check(data: Path, options: dict[str, Any], adversarial: float) -> int:
    """Refuse what parts and adversary cannot be for; returns the updates of the whole training.

    Raises RecipeError if the data is of one pair, no target has two source languages, or fairseq's
    options are of another loss or model, which would train nothing of this.
    """
    given = {name.replace("_", "-"): value for name, value in options.items()}
    pairs = directions(data)
    if adversarial and not contested(pairs):
        raise RecipeError(
            "an adversary needs a target language with two source languages to confuse: mix with "
            "--both true"
        )
    if given.get("criterion") != "label_smoothed_cross_entropy" or not str(
        given.get("arch")
    ).startswith("transformer"):
        raise RecipeError(
            "share and adversarial are for arch transformer and criterion "
            "label_smoothed_cross_entropy; set these among the options"
        )
    if adversarial < 0:
        raise RecipeError(f"adversarial is the weight of a disguise, 0 or more, not {adversarial}")
    if adversarial and not given.get("max-update"):
        raise RecipeError("the adversary's weight rises until max-update; set it in the options")
    return int(given.get("max-update") or 1)


def install(data: str, share: Share, adversarial: float, updates: int, arch: str) -> None:
    """Make fairseq's transformer one with these parts, trained with this weight of the adversary.

    `updates` are those of the whole training. An `arch` that is not that model's ends it.
    """
    pairs = directions(Path(data))
    sources, targets = sides(pairs)
    asked_about = torch.tensor([code in contested(pairs) for code in targets])
    lines = [pair.split("-") for pair in read_lines(Path(data) / f"train{PAIRS}")]
    # For each training pair, by its number in the data, the number of its languages.
    routes = torch.tensor([[sources.index(src), targets.index(tgt)] for src, tgt in lines])
    encoders = len(sources) if share in ("decoder", "embeddings") else 1
    decoders = len(targets) if share in ("encoder", "embeddings") else 1

    from fairseq.criterions import CRITERION_REGISTRY
    from fairseq.models import ARCH_MODEL_REGISTRY, MODEL_REGISTRY
    from fairseq.models.transformer import TransformerModel

    class Routed(TransformerModel):  # type: ignore[misc]
        """A transformer in which each sentence goes through the parts of its languages."""

        def __init__(self, arguments: Any, encoder: Any, decoder: Any) -> None:
            super().__init__(arguments, encoder, decoder)
            self.progress, self.states = 0.0, torch.empty(0)
            self.route: Tensor | None = None
            if adversarial:
                width = encoder.layers[-1].fc2.out_features
                self.discriminator = nn.Sequential(
                    nn.Linear(width, width), nn.ReLU(),
                    nn.Linear(width, len(sources)),
                )  # fmt: skip

        @classmethod
        def build_model(cls, arguments: Any, task: Any) -> Any:
            model = super().build_model(arguments, task)
            if encoders > 1 or decoders > 1:
                if not model.decoder.share_input_output_embed or (
                    model.encoder.embed_tokens is not model.decoder.embed_tokens
                ):
                    raise SystemExit("error: to share parts, set share-all-embeddings: true")
                embedding = model.decoder.embed_tokens
                model.more_encoders = nn.ModuleList(
                    cls.build_encoder(arguments, task.source_dictionary, embedding)
                    for _ in range(encoders - 1)
                )
                model.more_decoders = nn.ModuleList(
                    cls.build_decoder(arguments, task.target_dictionary, embedding)
                    for _ in range(decoders - 1)
                )
            return model

        def set_num_updates(self, number: int) -> None:
            super().set_num_updates(number)
            self.progress = number / updates

        def forward(
            self,
            src_tokens: Tensor,
            src_lengths: Tensor,
            prev_output_tokens: Tensor,
            **options: Any,
        ) -> Any:
            groups = self._groups(len(src_tokens))
            parts = [
                self._translate(encoder, decoder, src_tokens[rows], src_lengths[rows],
                                prev_output_tokens[rows], options)
                for encoder, decoder, rows in groups
            ]  # fmt: skip
            back = torch.argsort(torch.cat([rows for _, _, rows in groups]))
            if adversarial:
                self.states = torch.cat([pooled(encoded) for encoded, _ in parts])[back]
            return torch.cat([output for _, (output, _) in parts])[back], parts[0][1][1]

        def _groups(self, size: int) -> list[tuple[int, int, Tensor]]:
            """Encoder, decoder and rows of the batch that go through them."""
            everything = torch.arange(size)
            if self.route is None or encoders == decoders == 1:
                return [(0, 0, everything)]
            limits = torch.tensor([encoders - 1, decoders - 1])
            parts = torch.minimum(self.route, limits)
            return [
                (int(one), int(other), everything[(parts == torch.stack([one, other])).all(1)])
                for one, other in torch.unique(parts, dim=0)
            ]

        def _translate(
            self, encoder: int, decoder: int, src_tokens: Tensor, src_lengths: Tensor,
            prev_output_tokens: Tensor, options: dict[str, Any],
        ) -> tuple[Any, Any]:  # fmt: skip
            one = self.more_encoders[encoder - 1] if encoder else self.encoder
            other = self.more_decoders[decoder - 1] if decoder else self.decoder
            encoded = one(src_tokens, src_lengths=src_lengths)
            return encoded, other(prev_output_tokens, encoder_out=encoded,
                                  src_lengths=src_lengths, **options)  # fmt: skip

    base = CRITERION_REGISTRY["label_smoothed_cross_entropy"]

    class RoutedLoss(base):  # type: ignore[misc, valid-type]
        """The loss of the translations, and the discriminator's, whose gradient is reversed."""

        def forward(self, model: Any, sample: dict[str, Any], reduce: bool = True) -> Any:
            numbers = routes[sample["id"].cpu()] if self.training else None  # dev is of one pair
            model.route = numbers
            loss, size, output = super().forward(model, sample, reduce)
            if adversarial and numbers is not None and asked_about[numbers[:, 1]].any():
                rows = asked_about[numbers[:, 1]]
                weight = schedule(model.progress, adversarial)
                states = _Reversed.apply(model.states[rows], weight)  # type: ignore[no-untyped-call]
                scores = model.discriminator(states)
                wanted = numbers[rows, 0].to(scores.device)
                # In the measure of the loss, which is a sum over tokens.
                worth = size / len(numbers)
                loss = loss + worth * nn.functional.cross_entropy(scores, wanted, reduction="sum")
                output["told"] = (scores.argmax(1) == wanted).sum()
                output["asked"], output["weight"] = len(wanted), weight
            return loss, size, output

        @classmethod
        def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
            from fairseq.logging import metrics

            super().reduce_metrics(logging_outputs)
            asked = sum(output.get("asked", 0) for output in logging_outputs)
            if asked:
                weight = max(output.get("weight", 0.0) for output in logging_outputs)
                metrics.log_scalar("adversarial_weight", weight, round=4)
                told = sum(int(output["told"]) for output in logging_outputs)
                metrics.log_scalar("discriminator", 100 * told / asked, asked, round=1)

    replaced = [name for name, known in ARCH_MODEL_REGISTRY.items() if known is TransformerModel]
    if arch not in replaced:
        raise SystemExit(f"error: share and adversarial are not for arch {arch}, but for "
                         + ", ".join(sorted(replaced)))  # fmt: skip
    CRITERION_REGISTRY["label_smoothed_cross_entropy"] = RoutedLoss
    for registry in (ARCH_MODEL_REGISTRY, MODEL_REGISTRY):
        for name, known in list(registry.items()):
            if known is TransformerModel:
                registry[name] = Routed


def pooled(encoded: dict[str, list[Tensor]]) -> Tensor:
    """Means over the words of an encoder's states: (sentences, dimensions)."""
    states = encoded["encoder_out"][0].transpose(0, 1)
    real = (~encoded["encoder_padding_mask"][0].bool()).unsqueeze(2).to(states.dtype)
    return (states * real).sum(1) / real.sum(1)
