"""`clip-theatre models` and `app`, and what is common to all commands."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request

import open_clip
import pytest
import streamlit.web.cli

from dashboard.cli import serve
from surgery import catalog
from tests.conftest import ROOT
from tests.dashboard.command import error_of, run

# ---- models


def test_models_lists_what_can_be_loaded():
    table = run("models").stdout
    assert "toy" in table and "ViT-B-16-SigLIP" in table and "149.6 M" in table
    assert "vit_relpos_medium_patch16_cls_224" not in table


def test_models_all_gives_reasons():
    table = run("models", "vit_relpos", "--all").stdout
    assert "vit_relpos_medium" in table and "VisionTransformerRelPos" in table and "ViT-B-16" not in table
    assert "a map of its last layer, no surgery" in run("models", "convnext_base").stdout


def test_models_summary_counts_kinds_of_towers():
    table = run("models", "--summary").stdout
    names = open_clip.list_models()  # other tests add their own
    tags = sum(len(open_clip.list_pretrained_tags_by_model(name)) for name in names)
    assert f"of {len(names)} architectures" in table and f"of {tags} pretrained weights" in table
    assert "vit_relpos_medium_patch16_cls_224: a timm trunk" in table
    found = json.loads(run("models", "--summary", "--json").stdout)
    assert sum(row["architectures"] for row in found) == len(names) and sum(row["tags"] for row in found) == tags


def test_models_filter_looks_at_tags_too_and_json_is_json():
    found = json.loads(run("models", "metaclip_fullcc", "--json").stdout)
    assert {info["name"] for info in found} >= {"ViT-B-16", "ViT-L-14"}
    assert all(any(tag["tag"] == "metaclip_fullcc" for tag in info["tags"]) for info in found)


def test_models_names_the_packages_of_texts_once(monkeypatch):
    monkeypatch.setattr(catalog.importlib.util, "find_spec", lambda package: None)
    table, other = run("models", "SigLIP").stdout, run("models", "B-16-plus").stdout
    assert table.count("transformers") == 1 and '-e ".[siglip]"' in table
    assert all(line.endswith("webli *") for line in map(str.rstrip, table.splitlines()) if line.startswith("ViT"))
    assert "transformers" not in other


def test_models_says_where_no_weights_are_published():
    assert "none published: a file, or --random-weights" in run("models", "coca_base").stdout
    assert "none published" not in run("models", "metaclip_fullcc").stdout


def test_models_without_a_match():
    assert "Expected FILTER to be part of a name or tag" in error_of("models", "no-such-model", code=1)


# ---- app


def settings_of(monkeypatch, *arguments):
    """The command line that Streamlit would get."""
    monkeypatch.setattr(sys, "argv", ["clip-theatre"])
    monkeypatch.setattr(streamlit.web.cli, "main", lambda: None)
    output = run("app", *arguments).stdout
    return sys.argv, output


def test_app_is_private_from_any_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    command, output = settings_of(monkeypatch, "--headless", "--port", "18603")
    assert command[:3] == ["streamlit", "run", str(ROOT / "streamlit_server.py")]
    assert "http://127.0.0.1:18603" in output
    assert {
        "--server.address=127.0.0.1",
        "--server.port=18603",
        "--server.headless=true",
        "--server.allowedHosts=localhost",
        "--server.allowedHosts=127.0.0.1",
        "--browser.gatherUsageStats=false",
    } <= set(command)


def test_app_settings_agree_with_the_configuration_file():
    flags = serve.streamlit_flags("127.0.0.1", 1, headless=False)
    for section, values in tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text()).items():
        for key, value in values.items() if section != "theme" else ():
            for item in value if isinstance(value, list) else [value]:
                assert f"--{section}.{key}={str(item).lower()}" in flags


def test_app_passes_the_folder_of_models(monkeypatch, tmp_path):
    monkeypatch.setenv(serve.MODELS_VARIABLE, "")
    settings_of(monkeypatch, "--models", tmp_path)
    assert os.environ[serve.MODELS_VARIABLE] == str(tmp_path)
    assert "does not exist" in error_of("app", "--models", tmp_path / "none", code=2)


def test_app_says_when_others_can_reach_it(monkeypatch):
    monkeypatch.setattr(streamlit.web.cli, "main", lambda: None)
    monkeypatch.setattr(sys, "argv", ["clip-theatre"])
    assert "no password" in run("app", "--host", "0.0.0.0", "--headless").stderr


def test_app_finds_another_port_unless_one_is_named(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr(serve, "DEFAULT_PORT", port)
        _, output = settings_of(monkeypatch)
        assert f":{port}" not in output
        assert f"Expected port {port} of 127.0.0.1 to be free" in error_of("app", "--port", port, code=1)


def test_app_serves_this_machine_only(tmp_path):
    port = serve._free_port("127.0.0.1", None)
    command = [sys.executable, "-m", "dashboard.cli", "app", "--headless", "--port", str(port)]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline().startswith(f"CLIP Theatre: http://127.0.0.1:{port}")
        deadline = time.monotonic() + 120
        while True:
            assert process.poll() is None and time.monotonic() < deadline
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=5) as answer:
                    assert answer.read() == b"ok"
                    break
            except OSError:
                time.sleep(0.2)
        with pytest.raises(OSError):  # a server that listens on every address answers on this one too
            socket.create_connection(("127.0.0.2", port), timeout=5).close()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)


# ---- the whole


def test_version_and_help():
    assert run("--version").stdout.startswith("clip-theatre 0.")
    for command in ("app", "maps", "models"):
        assert "Examples" in run(command, "--help").stdout


def test_help_tells_the_exit_codes():
    text = " ".join(run("--help").stdout.split())
    assert "1 something could not be read, found or computed; 2 the command line itself was wrong" in text


@pytest.mark.parametrize("command", ["maps", "diagnose"])
def test_an_unknown_sample_is_named_once_and_before_anything_slow_is_loaded(command):
    code = f"from dashboard.cli import app; import sys; app([{command!r}, 'toy-99', '--text', 'snow'])"
    check = "import atexit, sys; atexit.register(lambda: print('torch' in sys.modules))"
    done = subprocess.run([sys.executable, "-c", f"{check}; {code}"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout.strip() == "False"
    assert done.stderr.count("toy-99") == 1
    assert "Expected an image file, a folder or a sample" in done.stderr


def test_errors_of_the_parser_are_one_line():
    assert error_of("map", code=2).startswith("Error: No such command 'map'")
