"""llama.cpp's own server, from the wheel ``xllamacpp``, with a tiny random model: a program nobody here wrote.

``python tests/llama_server.py MODEL PORT chat|embedding CONTEXT`` prints its URL when it listens, and ends with its
standard input; with MODEL alone it writes the model.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from package_registry import install, skip_without

WIDTH, INNER, HEADS = 32, 64, 2


_PACKAGES = ("xllamacpp==2026.10.11549", "gguf==0.19.0")


def random_model(directory: Path) -> Path:
    """Writes the model there, and beside it the packages that are not installed. Skips the test without PyPI."""
    if find_spec("xllamacpp") is None or find_spec("gguf") is None:
        for package in _PACKAGES:
            skip_without(package, directory / "found")
        wheels = map(str, (directory / "found").glob("*.whl"))
        install("--no-deps", "--target", str(directory / "packages"), *wheels)
    path = directory / "random.gguf"
    subprocess.run([sys.executable, __file__, str(path)], env=_environment(path), check=True, timeout=60)
    return path


def _environment(model: Path) -> dict[str, str]:
    paths = [str(model.parent / "packages"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _write_random_model(path: Path) -> None:
    """A llama of one layer with random weights; its tokens are the 256 bytes."""
    import numpy as np
    from gguf import GGUFWriter  # type: ignore[import-not-found, import-untyped, unused-ignore]

    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    characters = {byte: chr(byte) for byte in shown} | {byte: chr(256 + n) for n, byte in enumerate(hidden)}
    tokens = [*(characters[byte] for byte in range(256)), "<|end|>"]
    random = np.random.default_rng(1)
    writer = GGUFWriter(str(path), "llama")
    writer.add_context_length(8192)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_file_type(0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * 256 + [3])
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(256)
    writer.add_bos_token_id(256)
    writer.add_chat_template("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:")
    shapes = {
        "token_embd": (len(tokens), WIDTH),
        "output": (len(tokens), WIDTH),
        **{f"blk.0.{name}": (WIDTH, WIDTH) for name in ("attn_q", "attn_k", "attn_v", "attn_output")},
        "blk.0.ffn_gate": (INNER, WIDTH),
        "blk.0.ffn_up": (INNER, WIDTH),
        "blk.0.ffn_down": (WIDTH, INNER),
    }
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", (random.standard_normal(shape) * 0.2).astype(np.float32))
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@dataclass
class LlamaServer:
    """A server that listens; ``url`` is what a spec calls ``base_url``."""

    url: str
    process: subprocess.Popen[str]

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rsplit(":", 1)[1].partition("/")[0])


@contextmanager
def llama_server(model: Path, use: str = "chat", port: int = 0, context: int = 512) -> Iterator[LlamaServer]:
    """The server at work, with so many tokens of context for each of two requests; gone after the block."""
    command = [sys.executable, __file__, str(model), str(port), use, str(context)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_environment(model),
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"llama.cpp's server ended with {process.wait(10)} before it listened")
        yield LlamaServer(json.loads(line)["url"] + "/v1", process)
    finally:
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def _serve(model: str, port: int, use: str, context: int) -> None:
    import xllamacpp  # type: ignore[import-not-found, import-untyped, unused-ignore]

    parameters: Any = xllamacpp.CommonParams()
    parameters.model.path = model
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = port
    parameters.n_ctx = 2 * context
    parameters.n_parallel = 2
    parameters.n_batch = parameters.n_ubatch = 512
    parameters.cpuparams.n_threads = 1
    parameters.warmup = False
    parameters.fit_params = False
    parameters.endpoint_metrics = True
    if use == "embedding":
        parameters.embedding = True
        parameters.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    server = xllamacpp.Server(parameters)
    print(json.dumps({"url": server.listening_address}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    if len(sys.argv) == 2:
        _write_random_model(Path(sys.argv[1]))
    else:
        _serve(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
