from builder.servers import log

LOG = (
    'I1123 19:10:47.2 1 model_lifecycle.cc:472] "loading: fine:1"\n'
    "E1123 19:10:47.2 1 model_repository_manager.cc:1460] \"Poll failed for model directory 'a': "
    'failed to open text file for read config.pbtxt: No such file or directory"\n'
    "E1123 19:10:47.9 1 model_lifecycle.cc:642] \"failed to load 'b' version 3: Internal: "
    r"TritonModelException: no file\n\nAt:\n  model.py(63): initialize\n"
    '"\n'
    "I1123 19:10:47.9 1 model_lifecycle.cc:777] \"failed to load 'b'\"\n"
    "I1123 19:10:48.0 1 model_lifecycle.cc:839] \"successfully loaded 'fine'\"\n"
    "W1123 19:10:48.0 1 somewhere.cc:1] careful\n"
    "+---+\n| b |\n+---+\n"
    "error: creating server: Internal - failed to load all models\n"
)


def test_last_words_are_those_of_people_and_of_trouble():
    text = "I1123 18:00:00 1 infer_handler.cc:1] chatter\nE1123 bad\nTraceback:\n  line\n| table |"
    assert log.last_words(text) == "E1123 bad\nTraceback:\n  line"


def test_forty_last_words_are_enough():
    words = log.last_words("\n".join(f"line {n}" for n in range(100))).splitlines()
    assert (words[0], words[-1]) == ("line 60", "line 99")


def test_models_that_loaded():
    assert log.loaded(LOG) == ["fine"]


def test_models_that_did_not_and_why():
    assert log.refusals(LOG) == {
        "a": "failed to open text file for read config.pbtxt: No such file or directory",
        "b, version 3": "no file",
    }


def test_trouble_is_warnings_and_errors():
    assert [line[0] for line in log.trouble(LOG)] == ["E", "E", "W"]


def test_the_tail_has_no_tables():
    assert "|" not in log.tail(LOG)
    assert log.tail(LOG).endswith("failed to load all models")
