"""Proposals: functions of the trials so far, equal to those of one study in one go."""

from __future__ import annotations

import json
import time

from elboard.sweeps import search

SPACE = search.check_space(
    "f", {"lr": {"log": [1e-4, 1e-1]}, "k": {"int": [2, 64]}, "act": ["relu", None, True, 1], "scale": {"float": [0, 1]}}
)


def _value(parameters: dict) -> float:
    return -abs(parameters["lr"] - 0.01) - abs(parameters["k"] - 30) / 100 + (parameters["act"] == "relu")


def test_replaying_trials_equals_one_study_in_one_go() -> None:
    import optuna
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    choices = [json.dumps(choice) for choice in SPACE["act"]]
    distributions = {
        "act": CategoricalDistribution(choices),
        "k": IntDistribution(2, 64),
        "lr": FloatDistribution(1e-4, 1e-1, log=True),
        "scale": FloatDistribution(0, 1),
    }
    study = optuna.create_study(direction="maximize")
    seen: list[search.Seen] = []
    waiting: list[tuple[int, optuna.Trial]] = []
    for number in range(40):
        study.sampler = optuna.samplers.TPESampler(seed=search.seed_of(7, number))
        asked = study.ask(distributions)
        parameters = search.by_tpe(SPACE, "higher", 7, seen)
        assert {**parameters, "act": json.dumps(parameters["act"])} == asked.params
        seen.append(search.Seen(parameters=parameters))
        waiting.append((number, asked))
        if len(waiting) == 3:  # three at a time; they end in another order than they began in
            place, trial = waiting.pop(number % 3)
            seen[place].value = _value(seen[place].parameters)
            if place % 7 == 3:
                trial.report(seen[place].value, 2)
                seen[place].state, seen[place].epochs = "pruned", 2
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            elif place % 7 == 5:
                seen[place].state, seen[place].why = "failed", "bug"
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                seen[place].state = "done"
                study.tell(trial, seen[place].value)


def test_tpe_learns_what_random_search_does_not() -> None:
    seen: list[search.Seen] = []
    for _ in range(40):
        parameters = search.by_tpe(SPACE, "higher", 0, seen)
        seen.append(search.Seen(parameters=parameters, state="done", value=_value(parameters)))
    late = [_value(trial.parameters) for trial in seen[20:]]
    random = [_value(search.at_random(SPACE, 0, number)) for number in range(20, 40)]
    assert sum(late) / 20 > sum(random) / 20 + 0.2


def test_random_draws_fill_the_space_and_stay_in_it() -> None:
    points = [search.at_random(SPACE, 0, number) for number in range(400)]
    assert {point["k"] for point in points} >= {2, 64} and {repr(point["act"]) for point in points} == {"'relu'", "None", "True", "1"}
    assert all(1e-4 <= point["lr"] <= 1e-1 and 0 <= point["scale"] <= 1 for point in points)
    assert 0.4 < sum(point["lr"] < 10**-2.5 for point in points) / 400 < 0.6, "log-uniform"
    assert points[7] == search.at_random(SPACE, 0, 7) != search.at_random(SPACE, 1, 7)


def test_a_proposal_after_200_trials_takes_milliseconds() -> None:
    points = [search.at_random(SPACE, 0, number) for number in range(200)]
    seen = [search.Seen(parameters=parameters, state="done", value=_value(parameters)) for parameters in points]
    search.by_tpe(SPACE, "higher", 0, seen)
    start = time.process_time()
    search.by_tpe(SPACE, "higher", 0, seen)
    assert time.process_time() - start < 0.5, "about 0.03 s, of this process alone"
