"""Makes of the local model's GGUF what vLLM serves on a CPU, where it cannot read GGUF; runs in
vLLM's environment.

    python convert.py FROM.gguf TO_FOLDER
"""

import sys
from pathlib import Path

import torch  # type: ignore[import-not-found]
from transformers import (  # type: ignore[import-not-found]
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedTokenizerFast,
)


def main(source: Path, target: Path) -> None:
    """Writes the folder whole, or not at all."""
    partial = target.with_name(f"{target.name}.partial")
    where = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name}
    read = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    config = read.config
    # It would say that the weights are quantised.
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    plain = AutoModelForCausalLM.from_config(config)
    plain.load_state_dict(read.state_dict())
    plain.to(torch.float16).save_pretrained(partial)
    found = AutoTokenizer.from_pretrained(**where)
    # Of a class that every version reads, and with the end that the GGUF names.
    PreTrainedTokenizerFast(
        tokenizer_object=found.backend_tokenizer,
        chat_template=found.chat_template,
        bos_token=found.convert_ids_to_tokens(config.bos_token_id),
        eos_token=found.convert_ids_to_tokens(config.eos_token_id),
    ).save_pretrained(partial)
    partial.rename(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
