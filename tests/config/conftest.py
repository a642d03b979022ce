import pytest

from engine import registry

HERE = "tests.config.leaves"


@pytest.fixture
def demo_types(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the built-in types by the demo ones."""
    monkeypatch.setattr(
        registry,
        "BUILT_IN",
        {
            "probe": {
                "demo": f"{HERE}:DemoProbe",
                "plain": f"{HERE}:PlainProbe",
                "clashing": f"{HERE}:ClashingProbe",
                "hollow": f"{HERE}:NoOptions",
                "odd": f"{HERE}:OddProbe",
                "unreadable": f"{HERE}:UnreadableProbe",
                "gone": "no_such_module_here:Probe",
                "mute": f"{HERE}:MuteProbe",
            },
            "sink": {
                "push": f"{HERE}:PushSink",
                "screen": f"{HERE}:ScreenSink",
                "idle": f"{HERE}:IdleSink",
                "wantless": f"{HERE}:WantlessSink",
            },
            "projector": {},
        },
    )
    monkeypatch.setattr(registry, "_points", lambda kind: [])
