"""A causal language model from a local folder, asked for options; every answer is kept."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from clip_distill.use.quiet import quiet
from clip_distill.use.synthetic.answers import kind_in, listed
from clip_distill.use.teachers import weights_digest
from repro_shared.runtime.errors import UserError, one_line
from repro_shared.runtime.files import append_line, complete_lines
from repro_shared.runtime.rng import derive_seed

# As the authors' code samples and asks: six items, of which five are kept.
SAMPLING: dict[str, Any] = {
    "do_sample": True, "temperature": 0.7, "top_k": 50, "top_p": 0.95, "max_new_tokens": 128,
}  # fmt: skip
ASKED, KEPT = 6, 5
KIND_QUESTION = (
    "What kind of {kind} is a {name}? Answer with one word that people use for it and for others "
    "like it, and nothing else."
)


@dataclass(frozen=True)
class LanguageModel:
    """A model and its tokenizer.

    Attributes:
        name: of its folder.
        model: causal, of transformers.
        tokenizer: its own; a chat template is used where there is one.
    """

    name: str
    model: Any
    tokenizer: Any
    _digest: list[str] = field(default_factory=list, compare=False)

    @property
    def sha256(self) -> str:
        """Of all weights."""
        if not self._digest:
            self._digest.append(weights_digest(self.model))
        return self._digest[0]

    def answer(self, question: str, seed: int) -> tuple[str, bool]:
        """An answer, a pure function of question and seed, and whether it came to an end."""
        device = next(self.model.parameters()).device
        if getattr(self.tokenizer, "chat_template", None):
            given = self.tokenizer.apply_chat_template(
                [{"role": "user", "content": question}], add_generation_prompt=True,
                return_dict=True, return_tensors="pt",
            )  # fmt: skip
        else:
            given = self.tokenizer(f"{question}\n", return_tensors="pt")
        given = {name: given[name].to(device) for name in ("input_ids", "attention_mask")}
        ends = self.model.generation_config.eos_token_id
        ends = ends if ends is not None else self.tokenizer.eos_token_id
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices), torch.inference_mode(), quiet():
            torch.manual_seed(seed)
            tokens = self.model.generate(
                **given, **SAMPLING, eos_token_id=ends,
                pad_token_id=ends[0] if isinstance(ends, list) else ends,
            )[0, given["input_ids"].shape[1] :].tolist()  # fmt: skip
        whole = len(tokens) < SAMPLING["max_new_tokens"]
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True)), whole


def load(folder: str, device: str = "cpu") -> LanguageModel:
    """A model from a folder; bfloat16 on a GPU, float32 on the CPU.

    Raises:
        UserError: no such folder, not one of a causal model, pickled weights, or not all of them.
    """
    if not Path(folder).is_dir():
        raise UserError(f"--language-model {folder}: no such folder")
    try:
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError:
        raise UserError("this needs: pip install 'clip-distill[synthetic]'") from None
    dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, dtype=dtype,
                output_loading_info=True,
            )  # fmt: skip
    except Exception as error:  # every file in it has its own way of failing
        raise UserError(
            f"{folder}: no causal language model of transformers with safetensors "
            f"({one_line(str(error))[:240]})"
        ) from None
    model, report = loaded
    check_loaded(report, folder)
    model.to(device).eval().requires_grad_(False)
    return LanguageModel(Path(folder).resolve().name, model, tokenizer)


def check_loaded(report: Any, where: str) -> None:
    """UserError, with names, unless a library's loading took every weight and lacked none."""
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        if keys := sorted(map(str, report.get(what) or ())):
            more = f" and {len(keys) - 3} more" if keys[3:] else ""
            said = ", ".join(keys[:3]) + more
            raise UserError(f"{where}: weights do not fit: {what.replace('_', ' ')}: {said}")


@dataclass
class Asker:
    """Asks until there are enough usable answers; every answer is kept in a file.

    Attributes:
        model: that is asked.
        seed: of the sampling.
        attempts: answers to one question at most.
        file: of the answers, a line each; those of the same model and seed are not asked again.
    """

    model: LanguageModel
    seed: int
    attempts: int
    file: Path
    _known: dict[str, tuple[str, bool]] | None = None

    def options(self, question: str, count: int) -> tuple[str, ...]:
        """As many different options as wanted, from as many answers as that takes.

        Raises:
            UserError: the cap is reached.
        """
        found, text = dict[str, str](), ""
        for attempt in range(self.attempts):
            # What is there already is named, or a model would say it again and again.
            known = f" Leave out: {'; '.join(found.values())}." if found else ""
            text, whole = self._answer(f"{question}{known}", attempt)
            # The last line of an answer that was cut off may hold half a phrase.
            items = listed(text if whole else text.rpartition("\n")[0])
            for item in [i for i in items if i.casefold() not in found][:KEPT]:
                found[item.casefold()] = item
            if len(found) >= count:
                return tuple(found.values())[:count]
        raise UserError(
            f"{self.model.name} gave {len(found)} of {count} options in {self.attempts} answers to "
            f"{question[:100]!r}; the last one was {text[:80]!r}: raise --attempts, ask for fewer "
            "--options, or leave --language-model out"
        )

    def kind(self, name: str, kind: str) -> str:
        """A super-class of a class; UserError where the cap is reached."""
        question, text = KIND_QUESTION.format(name=name, kind=kind), ""
        for attempt in range(self.attempts):
            text, _ = self._answer(question, attempt)
            if found := kind_in(text, name):
                return found
        raise UserError(
            f"{self.model.name} named no kind of {name!r} in {self.attempts} answers; the last one "
            f"was {text[:80]!r}: raise --attempts, or give --kind"
        )

    def _answer(self, question: str, attempt: int) -> tuple[str, bool]:
        if self._known is None:
            self._known = self._read()
        key = self._key(question, attempt)
        if key not in self._known:
            seed = derive_seed(self.seed, "answer", question, attempt)
            text, whole = self.model.answer(question, seed)
            form = {"model": self.model.sha256, "seed": self.seed, "question": question,
                    "attempt": attempt, "answer": text, "whole": whole}  # fmt: skip
            append_line(self.file, json.dumps(form, ensure_ascii=False))
            self._known[key] = text, whole
        return self._known[key]

    def _read(self) -> dict[str, tuple[str, bool]]:
        known = dict[str, tuple[str, bool]]()
        for number, line in complete_lines(self.file):
            try:
                form = json.loads(line)
                if (form["model"], form["seed"]) == (self.model.sha256, self.seed):
                    key = self._key(str(form["question"]), int(form["attempt"]))
                    known[key] = str(form["answer"]), bool(form["whole"])
            except (ValueError, KeyError, TypeError):
                raise UserError(f"{self.file}: line {number} is damaged; remove it") from None
        return known

    @staticmethod
    def _key(question: str, attempt: int) -> str:
        return json.dumps([question, attempt])
