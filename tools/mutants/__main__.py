"""`python -m tools.mutants`: run mutants of the checkout, and print which of them the tests have noticed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tools.mutants.run import Result, baseline, run
from tools.mutants.table import ROOT, Mutant, load, selected, stale


def main(arguments: Sequence[str] | None = None) -> int:
    """Run or list the mutants; return 0 if all were killed, 1 if some survived, 2 on an error."""
    parser = argparse.ArgumentParser(prog="python -m tools.mutants", description=__doc__)
    parser.add_argument("--only", default="", help="parts (gateway-chat) or mutants (gateway-chat/name), with commas")
    parser.add_argument("--jobs", type=int, default=1, help="mutants that are tried side by side")
    parser.add_argument("--list", action="store_true", help="print the mutants and what they break; run nothing")
    parser.add_argument("--no-baseline", action="store_true", help="do not run the tests on the unchanged code first")
    options = parser.parse_args(arguments)
    try:
        mutants = selected(load(), options.only)
    except ValueError as error:
        print(f"mutants: {error}", file=sys.stderr)
        return 2
    if options.list:
        for mutant in mutants:
            print(f"{mutant.title:50} {'(equivalent) ' if mutant.equivalent else ''}{mutant.breaks}")
        return 0
    if outdated := [f"{mutant.title}: {reason}" for mutant in mutants for reason in stale(mutant, ROOT)]:
        print("These mutants are stale; change them or remove them:", *outdated, sep="\n  ", file=sys.stderr)
        return 2
    to_try = [mutant for mutant in mutants if not mutant.equivalent]
    if equivalent := len(mutants) - len(to_try):
        print(f"{equivalent} equivalent mutants are left out", flush=True)
    return _try_all(to_try, options.jobs, check=not options.no_baseline)


def _try_all(mutants: Sequence[Mutant], jobs: int, *, check: bool) -> int:
    if check and (failure := baseline(mutants, ROOT)):
        print("The tests fail on the unchanged code, so they can judge no mutant:", failure, sep="\n", file=sys.stderr)
        return 2
    results: list[Result] = []
    for result in run(mutants, ROOT, jobs=max(1, jobs)):
        results.append(result)
        print(f"{result.verdict:8} {result.seconds:6.1f} s  {result.mutant.title}", flush=True)
        if result.verdict == "killed":
            print(f"           by: {result.noticed_by}", flush=True)
        elif result.verdict == "survived":
            print(f"           breaks: {result.mutant.breaks}", flush=True)
        else:
            print(result.output, flush=True)
    killed = sum(result.verdict == "killed" for result in results)
    errors = sum(result.verdict == "error" for result in results)
    share = killed / len(results) if results else 1.0
    survived = len(results) - killed - errors
    print(f"{killed} of {len(results)} mutants killed ({share:.1%}), {survived} survived, {errors} errors")
    return 2 if errors else int(killed < len(results))


if __name__ == "__main__":
    sys.exit(main())
