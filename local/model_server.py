"""The local model server: it stands where vLLM stands on the GPU node, with the same OpenAI-compatible surface."""

import argparse
import os
import signal
import sys

from local import model_file, processes

# As `--max-model-len` of vLLM on the node (model.md): longer requests are refused with 400.
CONTEXT_TOKENS = 2048
STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT}


def main() -> None:
    """Serves until SIGTERM or SIGINT."""
    args = arguments()
    # Blocked before any thread exists: the engine would wait for generations that run, and a stopped node does not.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        processes.require_port(args.port, "the model server")
        path = model_file.prepare(report)
    except (processes.PortTakenError, model_file.ModelMissingError) as error:
        sys.exit(str(error))
    server = serve(str(path), args)
    print(f"model server: {args.model_name} on {server.listening_address}, {args.slots} slots", flush=True)
    signal.sigwait(STOP_SIGNALS)
    print("model server: stopped", flush=True)
    os._exit(0)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model-name", default="tinyllama", help="the name requests use (default: %(default)s)")
    parser.add_argument("--slots", type=int, default=8, help="generations at once (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="default: all cores (%(default)s)")
    return parser.parse_args()


def report(share: float) -> None:
    """Says about ten times how far the one-time preparation is."""
    print(f"\rmodel server: preparing the model (once): {share:4.0%}", end="\n" if share == 1 else "", flush=True)


def serve(path: str, args: argparse.Namespace):
    """The running server; it listens on the loopback address alone, from its own threads, until the process ends."""
    # Imported here: 34 MB of native code that neither --help nor a taken port needs.
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = path
    params.model_alias = {args.model_name}
    params.hostnames = [processes.LOOPBACK]
    params.port = args.port
    params.n_parallel = args.slots
    params.n_ctx = args.slots * CONTEXT_TOKENS
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = args.threads
    params.endpoint_metrics = True
    params.ui = False
    # It would load the model twice to find out what fits, and keep up to 8 GB of old prompts.
    params.fit_params = False
    params.cache_ram_mib = 0
    return xllamacpp.Server(params)


if __name__ == "__main__":
    main()
