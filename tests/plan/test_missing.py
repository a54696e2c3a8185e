"""What plans lack is told once for all of them, and nothing else is put together."""

from builder.errors import InputError, MissingError, SeveralError, WorkFailedError
from builder.plan.action import Action, Needs
from builder.plan.missing import grouped


def plans(*versions, model="minilm", capabilities=("8.0", "9.0")):
    return {
        id_: Action(id_, "tensorrt", {}, needs=Needs(gpus=1, capability=capability))
        for version in versions
        for capability in capabilities
        for id_ in [f"tensorrt {model} {version} cc {capability}"]
    }


def no_gpu(action, found="no GPU"):
    wanted = f"compute capability {action.needs.capability}"
    return MissingError(
        f"this needs {wanted}", where=action.id, found=found, expected=wanted, fix="elsewhere"
    )


def test_plans_for_which_there_is_no_gpu_are_one_error_by_model(tmp_path):
    actions = plans("1.0", "1.1") | plans("2.0", model="resnet", capabilities=("10.0",))
    (error,) = grouped({id_: no_gpu(a) for id_, a in actions.items()}, actions)
    assert str(error) == (
        "tensorrt: 5 plans cannot be built here: they need compute capabilities 8.0, 9.0, 10.0\n"
        "  found:    no GPU\n"
        "  expected: compute capabilities 8.0, 9.0, 10.0\n"
        "  fix:      elsewhere\n"
        "\n"
        "  | minilm 1.0, 1.1 for 8.0, 9.0\n"
        "  | resnet 2.0 for 10.0"
    )
    assert error.exit_code == 3


def test_versions_that_lack_different_ones_are_told_apart():
    actions = plans("1.0") | plans("1.1", capabilities=("9.0",))
    (error,) = grouped({id_: no_gpu(a) for id_, a in actions.items()}, actions)
    assert error.detail == "minilm 1.0 for 8.0, 9.0; 1.1 for 9.0"


def test_a_library_that_is_missing_is_told_once():
    actions = plans("1.0", "1.1", capabilities=("9.0",))
    failed = {
        id_: MissingError("TensorRT is not installed", where=id_, expected="TensorRT 10.5", fix="f")
        for id_ in actions
    }
    (error,) = grouped(failed, actions)
    assert error.problem == "2 plans cannot be built here: TensorRT is not installed"
    assert error.expected == "TensorRT 10.5"


def test_one_plan_keeps_its_own_error():
    actions = plans("1.0", capabilities=("9.0",))
    failed = {id_: no_gpu(a) for id_, a in actions.items()}
    assert grouped(failed, actions) == list(failed.values())


def test_other_errors_stay_as_they_are():
    actions = plans("1.0", "1.1") | {"config m": Action("config m", "config", {})}
    ids = list(actions)
    refused = WorkFailedError("the builder refuses the graph", where=ids[1])
    wrong = InputError("wrong", where="models/m/model.yaml")
    failed = {ids[0]: no_gpu(actions[ids[0]]), ids[1]: refused, ids[2]: no_gpu(actions[ids[2]])}
    failed["config m"] = wrong
    found = grouped(failed, actions)
    assert found[:2] == [refused, wrong]
    assert found[2].detail == "minilm 1.0, 1.1 for 8.0"


def test_what_failed_for_a_preflight_is_the_preflight_s_error():
    actions = plans("1.0")
    preflight = MissingError("TensorRT-RTX is not installed", where="preflight minilm 1.0")
    found = grouped(dict.fromkeys(actions, preflight), actions)
    assert SeveralError.of(found) is preflight
