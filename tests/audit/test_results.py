"""The audit of results: a sound table passes, and each fault is caught by the check of its name and by no other."""

import csv
import json

import numpy as np
import pytest

import hyperexec_env as hx
from hyperexec_env.audit.results import RESULT_CHECKS
from hyperexec_env.audit.results_table import COLUMNS

EPISODES, SEEDS = 120, ("0", "1", "2")


def table(episodes=EPISODES, seeds=SEEDS):
    """A sound table: TWAP, and PPO with three training seeds, which is 2 bps cheaper on the same episodes."""
    rng = np.random.default_rng(0)
    market, rows = rng.normal(30.0, 20.0, episodes), []
    for name, training_seed, edge in (("TWAP", "", 0.0), *(("PPO", seed, 2.0 + 0.1 * int(seed)) for seed in seeds)):
        own = rng.normal(0.0, 1.0 if edge else 0.0, episodes)
        rows += [
            {
                "policy": name,
                "training_seed": training_seed,
                "selection_seed": "99" if training_seed else "",
                "seed": "7",
                "episode": str(episode),
                "cost": str(market[episode] - edge + own[episode]),
            }
            for episode in range(episodes)
        ]
    return rows


def written(rows, path):
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def audited(tmp_path):
    return lambda rows, **options: hx.audit_results(written(rows, tmp_path / "results.csv"), **options)


def test_a_sound_table_passes(audited):
    found = audited(table())
    assert found.checks("passed") == list(RESULT_CHECKS)
    assert found.exit_code == 0


def test_paired_differences_are_computed_anew(audited):
    rows = table()
    found = {row["policy"]: row for row in audited(rows).plain}
    costs = {seed: np.array([float(row["cost"]) for row in rows if row["training_seed"] == seed]) for seed in ("", *SEEDS)}
    for seed in SEEDS:
        difference, row = costs[seed] - costs[""], found[f"PPO (seed {seed})"]
        assert row["difference"] == pytest.approx(difference.mean())
        half = 1.96 * difference.std(ddof=1) / np.sqrt(EPISODES)
        assert row["difference_low"] == pytest.approx(difference.mean() - half, abs=0.15 * half)
        assert row["difference_high"] == pytest.approx(difference.mean() + half, abs=0.15 * half)
    assert "difference" not in found["TWAP"]


def test_a_reference_with_several_training_seeds_is_its_first_one_and_says_so(audited):
    found = audited(table(), against="PPO")
    assert "The reference is the first of 3 results of PPO, by training seed and checkpoint." in found.notes
    assert [row["policy"] for row in found.plain if "difference" not in row] == ["PPO (seed 0)"]
    with pytest.raises(ValueError, match="there is no policy 'PPP'; did you mean 'PPO'"):
        audited(table(), against="PPP")


# --- broken tables


def unpaired(rows):
    return [row | {"episode": f"{row['policy']} {row['episode']}"} for row in rows]


def anonymous(rows):
    return [{key: value for key, value in row.items() if key not in ("seed", "episode")} for row in rows]


def one_seed(rows):
    return [row for row in rows if row["training_seed"] in ("", "1")]


def chosen_on_the_test(rows):
    return [row | {"selection_seed": "7" if row["training_seed"] else ""} for row in rows]


def several_checkpoints(rows):
    """Five checkpoints of each training seed, of which any reader takes the best."""
    rng = np.random.default_rng(1)
    found = []
    for row in rows:
        kept = {key: value for key, value in row.items() if key != "selection_seed"}
        steps = range(5) if row["training_seed"] else range(1)
        noise = rng.normal(0.0, 1.0, 5)
        found += [kept | {"checkpoint": str(step), "cost": str(float(row["cost"]) + noise[step])} for step in steps]
    return found


def overlapping_splits(rows):
    return [row | {"split": "test"} for row in rows] + [row | {"split": "validation"} for row in rows if row["episode"] == "3"]


def twice(rows):
    return [*rows, rows[5]]


def copied_seed(rows):
    cost = {row["episode"]: row["cost"] for row in rows if row["training_seed"] == "0"}
    return [row | ({"cost": cost[row["episode"]]} if row["training_seed"] == "1" else {}) for row in rows]


def too_few(rows):
    return [row for row in rows if int(row["episode"]) < 30]


def best_of_many(rows):
    """Forty policies as good as TWAP, of which the best is significant alone."""
    rng = np.random.default_rng(5)
    twap = [row for row in rows if row["policy"] == "TWAP"]
    return twap + [
        row | {"policy": f"P{number}", "training_seed": seed, "selection_seed": "99", "cost": str(float(row["cost"]) + noise)}
        for number in range(20)
        for seed in "01"
        for row, noise in zip(twap, rng.normal(0.0, 1.0, len(twap)), strict=True)
    ]


def failures_left_out(rows):
    return [row | ({"cost": ""} if row["training_seed"] == "2" and int(row["episode"]) % 7 == 3 else {}) for row in rows]


def failures_by_status(rows):
    return [row | {"status": "diverged" if row["policy"] == "PPO" and row["episode"] == "8" else "ok"} for row in rows]


def means_without_interval(rows):
    means = {}
    for row in rows:
        means.setdefault((row["policy"], row["training_seed"]), []).append(float(row["cost"]))
    return [
        {"policy": name, "training_seed": seed, "selection_seed": "99", "cost": np.mean(costs), "n": len(costs)}
        for (name, seed), costs in means.items()
    ]


BROKEN = {
    unpaired: "paired",
    anonymous: "paired",
    one_seed: "training seeds",
    chosen_on_the_test: "selection",
    several_checkpoints: "selection",
    overlapping_splits: "selection",
    twice: "duplicates",
    copied_seed: "duplicates",
    too_few: "episodes",
    best_of_many: "winner",
    failures_left_out: "failed runs",
    failures_by_status: "failed runs",
    means_without_interval: "interval",
}


@pytest.mark.parametrize("spoil", BROKEN, ids=lambda spoil: spoil.__name__)
def test_a_fault_is_caught_by_its_check_and_by_no_other(spoil, audited):
    found = audited(spoil(table()))
    assert found.checks("failed") == [BROKEN[spoil]], str(found)
    assert found.exit_code == 1


def test_failed_runs_show_the_mean_with_and_without_them(audited):
    rows = failures_left_out(table())
    evidence = audited(rows).named("failed runs").evidence
    kept = [float(row["cost"]) for row in rows if row["training_seed"] == "2" and row["cost"]]
    worst = max(float(row["cost"]) for row in rows if row["cost"])
    filled = (sum(kept) + (EPISODES - len(kept)) * worst) / EPISODES
    assert f"mean is {np.mean(kept):.4g} without them, and {filled:.4g}" in evidence


def test_episodes_that_were_dropped_are_missed(audited):
    rows = [row for row in table() if not (row["training_seed"] == "2" and int(row["episode"]) % 7 == 3)]
    found = audited(rows)
    assert found.checks("failed") == ["paired"]
    assert "103 of 120 episodes are those of every policy" in found.named("paired").evidence


# --- other forms of a table


def test_rewards_are_costs_with_the_other_sign(audited, tmp_path):
    rows = table()
    rewards = [
        {"algo": row["policy"], "train_seed": row["training_seed"], "ep": row["episode"], "return": -float(row["cost"])}
        for row in rows
    ]
    ours, theirs = audited(rows), audited(rewards)
    assert [row["mean"] for row in theirs.plain] == pytest.approx([row["mean"] for row in ours.plain])
    assert "Costs are minus the rewards." in theirs.notes
    path = tmp_path / "results.json"
    path.write_text(json.dumps(rows))
    assert hx.audit_results(path).plain == ours.plain
    path.write_text(json.dumps({key: [row[key] for row in rows] for key in rows[0]}))
    assert hx.audit_results(path).plain == ours.plain


def test_other_names_of_columns_are_given(audited):
    rows = [{"who": row["policy"], "what": row["cost"], "episode": row["episode"]} for row in table(seeds=())]
    with pytest.raises(ValueError, match="has no column of policies; name it by --columns policy=NAME"):
        audited(rows)
    assert audited(rows, columns={"policy": "who", "cost": "what"}).checks("failed") == []
    with pytest.raises(ValueError, match="has no column 'whom'; did you mean 'who'"):
        audited(rows, columns={"policy": "whom", "cost": "what"})


def test_a_board_and_a_store_of_ours_pass(tmp_path):
    policies = ["baselines", "random"]
    with hx.Store(tmp_path / "store.sqlite") as store:
        board = hx.evaluate("regime-day", policies, episodes=1_000, optimum=False, backend="numpy", store=store)
    (tmp_path / "board.json").write_text(board.to_json())
    summary, episodes = hx.audit_results(tmp_path / "board.json"), hx.audit_results(tmp_path / "store.sqlite")
    assert summary.checks("failed") == episodes.checks("failed") == []
    assert episodes.checks("not run") == []
    found = {row["policy"]: row for row in episodes.plain}
    for row in board.rows:
        assert found[row.policy]["mean"] == pytest.approx(row.objective_bps)
        if row.policy != "TWAP":
            assert found[row.policy]["difference"] == pytest.approx(row.diff_to_twap_bps)
            assert found[row.policy]["difference_low"] == pytest.approx(row.diff_to_twap_low)


def test_several_scenarios_must_be_chosen_from(audited):
    rows = [row | {"scenario": name} for name in ("calm", "wild") for row in table()]
    with pytest.raises(ValueError, match=r"holds 2 scenarios: choose one by --scenario \(calm, wild\)"):
        audited(rows)
    assert audited(rows, of_scenario="wild").checks("failed") == []
    with pytest.raises(ValueError, match="did you mean 'calm'"):
        audited(rows, of_scenario="clam")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"policy,cost\n", "a header and no rows"),
        (b"policy,cost\nTWAP,1\nPPO\n", "line 3: 1 values, and 2 columns"),
        (b"policy,cost\nTWAP,much\n", "line 2, column cost: 'much' is not a number"),
        (b"policy,size\nTWAP,1\n", "has no column of costs"),
        (b"PK\x03\x04", "is a zip archive, which is"),
        (b"\x80\x04\x95", "is a pickle, which is"),
        (b"[1, 2]", "must be a list of rows"),
        (b"{bad", "is not JSON"),
        (b'{"rows": [{"policy": "TWAP"}], "scenario_hash": "x"}', "is not a board"),
        (b"policy,split,cost\nTWAP,train,1\n", "rows of training and validation only"),
    ],
)
def test_a_bad_table_is_one_clear_error(content, said, tmp_path):
    path = tmp_path / "results.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=said) as error:
        hx.audit_results(path)
    assert str(path) in str(error.value) or "results.csv" in str(error.value)


def test_the_usual_names_of_columns_differ():
    names = [name for usual in COLUMNS.values() for name in usual]
    assert len(names) == len(set(names))
