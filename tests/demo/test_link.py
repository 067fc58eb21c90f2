"""Commands below the results of the demo."""

from pathlib import Path

from refusion.demo.link import batch_command, command
from refusion.demo.models import ModelChoice
from refusion.demo.service import Settings
from refusion.tasks import get_task


def test_a_command_names_what_differs_from_the_task():
    task = get_task("multi-focus")
    names = ["near.png", "-far.png", "a third.png"]
    own = Settings(task, ModelChoice("refusion-multi-focus"), None, None, None)
    stack = "refusion fuse near.png ./-far.png 'a third.png' -o fused.png --task multi-focus"
    assert command(names, own) == stack
    hub = Settings(task, ModelChoice("someone/model", "v1"), "stretch", "none", None)
    settings = " --output-range stretch --anchor none --model someone/model --revision v1"
    assert command(names, hub) == stack + settings
    pair = ("x", (Path("x.png"), Path("x.jpg")))
    assert batch_command([pair], hub) == f"refusion fuse near far -o fused --task multi-focus{settings}"
