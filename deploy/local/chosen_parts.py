"""Plan of some parts of the stack, for commands that need the stores while the stack is stopped."""

from __future__ import annotations

from dataclasses import dataclass, field

from deploy.local.plan import Plan, Planner


@dataclass
class ChosenParts(Planner):
    """Planner of the parts `names`. After `plan`, `environment` is what a process of the learner gets."""

    names: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    def plan(self) -> Plan:
        """Plan as for the whole system, without the other parts."""
        plan = super().plan()
        self.environment = dict(next(part.server.environment for part in plan.parts if part.name == "learner"))
        plan.parts = [part for part in plan.parts if part.name in self.names]
        return plan
