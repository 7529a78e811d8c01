# pyright: basic
"""The plan as a state machine: whatever is judged, whatever people do, what must hold holds."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from ruamel.yaml.comments import CommentedMap

from models.calendar import closed
from models.errors import StackFileError
from models.stack import stack_from_config
from rollout import declare
from rollout.edits import Approve, Pause, Restart, Restore, Resume, Retry
from rollout.judge import Verdict
from rollout.plan import as_people_allow, is_over, plan

STRATEGIES = [
    {"kind": "canary", "steps": [1, 5, {"percent": 25, "approve": True}, 100]},
    {"kind": "canary", "steps": [{"percent": 5, "approve": True}, 100]},
    {"kind": "linear", "increment": 40, "every": "1h"},
    {"kind": "blue-green", "mirror": 50, "bake": "1h"},
    {"kind": "blue-green", "approve": True},
    {"kind": "shadow", "mirror": 100, "for": "2h"},
    {"kind": "shadow"},
    {"kind": "ab-test", "percent": 30},
    {"kind": "ab-test", "percent": 30, "until": "forever"},
    {"kind": "all-at-once"},
]
CALENDARS = [
    {},
    {"windows": [{"from": "09:00", "to": "17:00", "zone": "Europe/Berlin"}]},
    {"freezes": [{"from": "2026-11-24", "to": "2026-11-24", "zone": "UTC", "why": "sale"}]},
]
SERVICES = ("churn", "fraud")
names = st.sampled_from(SERVICES)


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


class Rollouts(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = datetime(2026, 11, 23, 8, tzinfo=UTC)
        self.made = 0

    @initialize(
        strategies=st.tuples(*[st.sampled_from(STRATEGIES)] * 2),
        calendar=st.sampled_from(CALENDARS),
        group=st.sampled_from([None, "payments"]),
    )
    def begin(self, strategies, calendar, group):
        self.config = CommentedMap(
            cluster={"target": "embedded", "namespace": "models", "gateway": "gateway/models"},
            calendar=calendar,
            services=CommentedMap(),
        )
        for name, strategy in zip(SERVICES, strategies, strict=True):
            self.config["services"][name] = CommentedMap(
                owner="ml",
                risk="low",
                runtime={"kind": "mlflow"},
                strategy=strategy,
                slo={"latency": {"thresholdMs": 250, "share": 0.99}},
                **({"group": group} if group else {}),
            )
        self.deploy_to("churn")
        self.deploy_to("fraud")

    @property
    def stack(self) -> Any:  # whose services all have a rollout here
        return stack_from_config(copy.deepcopy(self.config), "machine")

    def edit_service(self, path, name, change):
        """Stands for the file: what is not valid is not written."""
        before = copy.deepcopy(self.config)
        try:
            change(self.config["services"][name], self.stack)
            after = self.stack
        except Exception:
            self.config = before
            raise
        return after

    def using(self):
        declare.edit_service, kept = self.edit_service, declare.edit_service
        return kept

    def write(self, name, edit):
        kept = self.using()
        try:
            declare.apply_edit(Path("machine"), name, self.stack, edit, self.now)
        finally:
            declare.edit_service = kept

    def deploy_to(self, name, number=None):
        self.made += 1
        number = self.made if number is None else number
        entry = {"uri": "s3://m/a", "digest": digest(number), "registry": f"models:/x/{number}"}
        kept = self.using()
        try:
            declare.start_rollout(
                Path("machine"), name, f"1.{self.made}.0", entry, now=self.now, why="new"
            )
        finally:
            declare.edit_service = kept

    def rollout(self, name) -> Any:
        return self.stack.services[name].rollout

    @rule(name=names)
    def deploy(self, name):
        before, stack = self.rollout(name), self.stack
        try:
            self.deploy_to(name)
        except StackFileError:
            assert not is_over(stack.services[name])
            return
        after = self.rollout(name)
        assert after.stable == before.stable
        if after.percent > 0:
            assert not closed((stack.calendar,), self.now)
            assert not before.paused

    @rule(
        name=names,
        kind=st.sampled_from(["advance", "advance", "hold", "revert", "no-data", "decide"]),
        unready=st.booleans(),
    )
    def drift_check(self, name, kind, unready):
        stack = self.stack
        service = stack.services[name]
        before = service.rollout
        verdict = None
        if not is_over(service):
            # The judge promotes at 100 and never advances there.
            alone = before.percent == 100
            kind = {
                "decide": "promote" if alone else "hold",
                "advance": "promote" if alone else kind,
            }.get(kind, kind)
            said = Verdict(kind, "because", never_served=unready and before.percent < 100)
            verdict = as_people_allow(said, name, stack, self.now)
        edit = plan(name, stack, verdict, self.now)
        if edit:
            self.write(name, edit)
        after = self.rollout(name)
        shut = closed((stack.calendar,), self.now) or before.paused
        if verdict and verdict.kind == "revert":
            assert after.percent == 0
            assert after.candidate is None or self.stack.services[name].is_taken_back
            assert after.stable == before.stable
            return
        if shut:
            assert after == before
        if after.percent > before.percent:
            assert (verdict and verdict.kind == "advance") or isinstance(edit, Restart)
            by_hand = before.percent == 0 and any(it.percent for it in before.moves)
            assert isinstance(edit, Restart) or not by_hand
            assert not (before.percent == 0 and self.others_with_traffic(name))
        if after.stable != before.stable:
            assert verdict
            assert verdict.kind == "promote"
            assert (after.stable, after.previous.version) == (before.candidate, before.stable)
            assert after.previous.until >= self.now + timedelta(hours=24)
        if verdict and verdict.kind in ("hold", "no-data"):
            assert after.moves == before.moves

    def others_with_traffic(self, name):
        """Whether another of its group has users, and has not had them for good."""
        services = self.stack.services
        return [
            other
            for other, it in services.items()
            if other != name
            and it.group is not None
            and it.group == services[name].group
            and it.rollout.percent > 0
            and not it.strategy.is_endless
        ]

    @rule(hours=st.integers(1, 30))
    def time_passes(self, hours):
        self.now += timedelta(hours=hours)

    @rule(name=names)
    def a_person_pauses_or_resumes(self, name):
        paused = self.rollout(name).paused
        self.write(name, Resume("seen") if paused else Pause("I am looking"))

    @rule(name=names)
    def a_person_approves(self, name):
        service = self.stack.services[name]
        following = service.strategy.next_percent(service.rollout.percent)
        if not is_over(service) and following:
            self.write(name, Approve(following, "ann@example.org", "fine"))

    @rule(name=names, data=st.data())
    def a_person_moves(self, name, data):
        service = self.stack.services[name]
        if is_over(service):
            return
        percent = data.draw(st.sampled_from(sorted(service.strategy.percents)))
        at = max(self.now, service.rollout.moves[-1].at).isoformat()
        self.config["services"][name]["rollout"]["moves"].append({"percent": percent, "at": at})

    @precondition(lambda self: any(self.rollout(name).previous for name in SERVICES))
    @rule(name=names)
    def a_person_switches_back(self, name):
        service = self.stack.services[name]
        if not service.rollout.previous or not is_over(service):
            return
        self.write(name, Restore("it fails at night"))
        after = self.rollout(name)
        assert after.stable == service.rollout.previous.version
        assert self.stack.services[name].is_taken_back

    @rule(name=names)
    def a_person_sets_retry(self, name):
        service = self.stack.services[name]
        if service.rollout.rejected:
            self.write(name, Retry(service.rollout.rejected[-1].digest, "it was the network"))

    @invariant()
    def every_percentage_is_declared_and_every_role_too(self):
        if not hasattr(self, "config"):
            return
        for service in self.stack.services.values():
            assert service.rollout.percent in service.strategy.percents
            assert sum(service.percents().values()) == 100
            assert set(service.served) <= set(service.versions)


TestRollouts = Rollouts.TestCase
TestRollouts.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
