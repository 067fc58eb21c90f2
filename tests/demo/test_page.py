"""What the page of the demo consists of."""

import json

import httpx
import pytest
from support.demo_client import components

from refusion.demo import texts
from refusion.demo.page import build_demo
from refusion.hub.names import has_weights
from refusion.inference.stack import STACK_ANCHORS, STACK_TASKS, stack_colours
from refusion.tasks import CHOICES, TASKS, Task


def test_every_task_has_a_tab_and_those_with_weights_an_endpoint(server, client):
    config = httpx.get(f"{server.url}/config").json()
    titles = {tab["id"]: tab["label"] for tab in components(config, "tabitem")}
    wanted = {task.name: task.title for task in TASKS.values()} | {n.lower(): n for n in ("Stack", "Batch", "About")}
    assert wanted.items() <= titles.items()
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    ready = [task for task in TASKS.values() if has_weights(task.model)]
    assert set(endpoints) == {*(f"/fuse_{task.name.replace('-', '_')}" for task in ready), "/evaluate"}
    for name, endpoint in endpoints.items():
        needed = [p["parameter_name"] for p in endpoint["parameters"] if not p["parameter_has_default"]]
        assert needed == ["a", "b"], name
        assert endpoint["description"], name


def test_dicom_is_named_where_it_is_accepted():
    pytest.importorskip("pydicom")
    config = build_demo().get_config_file()
    said = {task.name: texts.advice(task) for task in TASKS.values()}
    assert [name for name, advice in said.items() if "DICOM" in advice] == ["medical"]
    assert any("and DICOM for medical images" in html.get("value", "") for html in components(config, "html"))
    lists = [box["file_types"] for box in components(config, "file")]
    assert lists
    assert all(".dcm" in types and ".png" in types for types in lists)


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_every_choice_of_a_setting_has_a_description_of_its_own(task):
    words = texts.choices(task.labels)
    for name, choices in CHOICES.items():
        assert set(words[name]) == set(choices)
        assert len(set(words[name].values())) == len(choices)
        # It is shown without the other choices, too.
        assert not any("the same" in said.lower() for said in words[name].values())


def test_the_choices_for_a_stack_are_about_images_of_one_camera():
    config = build_demo().get_config_file()
    label = texts.SETTINGS["anchor"][0]
    offered = [box["choices"] for box in components(config, "dropdown") if box["label"] == label]
    of_stack, _of_batch = offered[-2:]
    assert [choice for _, choice in of_stack] == ["", *STACK_ANCHORS]
    words = texts.choices(None)
    assert set(words["chroma"]) == {rule for name in STACK_TASKS for rule in stack_colours(TASKS[name])}
    assert not any("both" in said.lower() for name in words for said in words[name].values())


def test_tools_are_called_as_endpoints_are():
    named = {fn.api_name: fn.fn.__name__ for fn in build_demo().fns.values() if fn.api_visibility == "public"}
    assert named
    assert all(name == called for name, called in named.items())


def test_opening_a_tab_does_not_start_the_fusion_that_a_link_starts():
    # Gradio reports a state as changed to each event that has it as an output and runs while it changes.
    demo = build_demo()
    started = [fn for fn in demo.fns.values() if fn.fn and fn.fn.__name__ in ("fuse", "fuse_wanted")]
    states = {target for fn in started for target, event in fn.targets if event == "change"}
    assert states
    for state in states:
        setting = {fn.fn.__name__ for fn in demo.fns.values() if any(output._id == state for output in fn.outputs)}
        assert "arrived" in setting
        assert setting <= {"arrived", "checked"}


def test_an_upload_cancels_the_example_that_the_tab_waits_for():
    demo = build_demo()
    fills = {number: fn.fn.__name__ for number, fn in demo.fns.items() if fn.fn}
    cancelled = [
        {fills[number] for number in fn.cancels}
        for fn in demo.fns.values()
        if fn.cancels and any(event == "upload" for _, event in fn.targets)
    ]
    ready = [task for task in TASKS.values() if has_weights(task.model)]
    assert cancelled == [{"arrived", "opened", "show_example"}] * (2 * len(ready) + 1)  # And the list of the stack.


def test_a_task_without_weights_says_so_and_has_no_button():
    task = Task("sonar", "Sonar", ("a", "b"), ("low", "high"), "a", "refusion-sonar")
    config = build_demo(tasks=[task]).get_config_file()
    assert any("without the weights `refusion-sonar`" in text["value"] for text in components(config, "markdown"))
    assert "Fuse" not in [button["value"] for button in components(config, "button")]


def test_the_page_is_compressed_for_slow_connections(server):
    page = httpx.get(server.url, headers={"Accept-Encoding": "gzip"})
    assert page.headers["content-encoding"] == "gzip"
    assert int(page.headers["content-length"]) < len(page.content) / 3
    plain = httpx.get(server.url, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.text.rstrip().endswith("</html>")


def test_the_page_asks_no_font_server(server):
    page = httpx.get(server.url).text
    theme = httpx.get(f"{server.url}/theme.css").text
    config = httpx.get(f"{server.url}/config").json()
    assert "system-ui" in theme
    assert "//fonts." not in page + theme + json.dumps(config["stylesheets"])
