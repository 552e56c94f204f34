"""The runs and means behind a checkpoint, oldest first, as its model card lists them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bertguard.training.history import TOLD, WORDS_ADDED, Record, identity, made_from
from bertguard.training.markdown import table_line


@dataclass(slots=True)
class Lineage:
    """Every stage once, numbered from 1; what comes again in the tree is its number.

    `runs` are records that were trained, `stages` one line each, runs and means.
    """

    stages: list[str] = field(default_factory=list)
    runs: list[Record] = field(default_factory=list)
    _numbers: dict[str, str] = field(default_factory=dict)

    def add(self, record: Record) -> str:
        """The number of a record, behind those of all that it was made from."""
        if (told := record.get(TOLD)) is True:
            # A mean has no command: which of those above it was, nobody wrote down.
            return self._numbers.get(str(record.get("command")), "one of the means above")
        if told:
            return self._numbers.get(str(told), "a stage that is not told")
        of = [self.add(parent) for parent in made_from(record)]
        if "mean_of" in record:
            line = f"the mean of {_listed(of)}"
        else:
            self.runs.append(record)
            line = _described(record, *of)
        number = self._numbers.get(line)
        if number is None:
            self.stages.append(line)
            number = self._numbers[line] = str(len(self.stages))
        self._numbers.setdefault(identity(record), number)
        if command := record.get("command"):
            self._numbers.setdefault(str(command), number)
        return number


def training_data(facts: Record) -> list[str]:
    """The section of the card: one run, or the list of all that the weights come from."""
    lineage = Lineage()
    lineage.add(facts)
    if len(lineage.stages) == 1:
        lines = [f"{lineage.stages[0]}."]
    else:
        lines = [
            f"The weights are those of the last of {len(lineage.stages)} stages, of which "
            f"{len(lineage.runs)} were trained and the others are means of weights:",
            "",
            *(f"{number}. {line}" for number, line in enumerate(lineage.stages, start=1)),
        ]
    lines += ["", "Hyper-parameters stand in `guard.json`.", ""]
    table = _sources_table(lineage.runs)
    return [*lines, *table, ""] if table else lines


def mostly_english(facts: Record) -> bool:
    """Whether most of the rows behind the weights are known to be English.

    Until 0.10 no run wrote down how many were; those of the bundled guard, from which nearly all
    runs went on, are from public sets in English.
    """
    lineage = Lineage()
    lineage.add(facts)
    rows = english = 0.0
    for run in lineage.runs:
        rows += run.get("rows") or 0
        english += (run.get("rows") or 0) * run.get("english_share", 1.0)
    return english > rows / 2


def _described(record: Record, base: str = "") -> str:
    """One run in one line: from which stage, by which command, on which rows."""
    # The code that ran it, where somebody wrote that down.
    code = f" (by the code of commit {record['commit']})" if record.get("commit") else ""
    if words := record.get(WORDS_ADDED):
        return (
            f"{f'from {base}: ' if base else ''}`{record.get('command') or 'command not recorded'}`"
            f"{code}: {words} words were added to the vocabulary, for {record.get('rows')} texts "
            "that it read poorly"
        )
    words = [
        f"from {base}: " if base else "",
        f"`{record.get('command') or 'command not recorded'}`{code}: {record.get('rows')} rows",
        f", SHA-256 of the data `{record['data_sha256']}`" if record.get("data_sha256") else "",
        f"; {record.get('validation_rows')} rows for validation, {_held_out(record)}",
        _made_up(record.get("settings")),
    ]
    return "".join(words)


def _listed(numbers: Sequence[str]) -> str:
    *most, last = numbers
    return f"{', '.join(most)} and {last}" if most else last


def _held_out(facts: Record) -> str:
    """Where the validation rows are from: rows of one source resemble each other."""
    learnt, left_out = facts.get("sources"), facts.get("validation_sources")
    if not isinstance(learnt, Mapping) or not isinstance(left_out, Sequence):
        return "from places that were not recorded"
    both = sum(source in learnt for source in left_out)
    if not both:
        return "from other places than the training rows"
    if both == len(left_out):
        return "from the same places as the training rows"
    return f"of whose {len(left_out)} places {both} are those of training rows as well"


def _made_up(settings: object) -> str:
    """What an epoch holds beside the rows."""
    augmentation = settings.get("augmentation") if isinstance(settings, Mapping) else None
    if not isinstance(augmentation, Mapping) or not any(augmentation.values()):
        return ""
    return (
        f"; beside them an epoch holds {augmentation.get('composed', 0)} texts composed from them "
        "(half of them indirect injections, half their benign twins) and, for "
        f"{augmentation.get('replay', 0):.0%} of the rest, texts of the package's own corpus; "
        f"{augmentation.get('obfuscated', 0):.0%} of all are written oddly, both labels alike"
    )


def _sources_table(runs: Sequence[Record]) -> list[str]:
    """Sources of one run; of several, the most rows that any of them took and how many did."""
    found: dict[str, dict[str, Any]] = {}
    for run in runs:
        sources = run.get("sources")
        for source, facts in sources.items() if isinstance(sources, Mapping) else ():
            row = found.setdefault(source, {"injection": 0, "benign": 0, "licence": "", "runs": 0})
            for label in ("injection", "benign"):
                row[label] = max(row[label], facts[label])
            row["licence"] = row["licence"] or facts.get("licence", "")
            row["runs"] += 1
    if not found:
        return []
    several = len(runs) > 1
    head = "| source | injection | benign | licence |"
    rule = "|---|---|---|---|"
    before = ["What a run took of each source at most, and how many of the runs did:", ""]
    lines = [*before, f"{head} runs |", f"{rule}---|"] if several else [head, rule]
    for source, row in sorted(found.items()):
        cells = (source, row["injection"], row["benign"], row["licence"])
        lines.append(table_line((*cells, row["runs"]) if several else cells))
    return lines
