"""Whether model/ holds what model.json says: read again from the disk, as the engine will."""

import hashlib
import sys

from tlfif import serving


def main() -> None:
    """Exits with 1 and a line where something is missing or different."""
    model = serving.Model.model_validate_json(serving.MODEL_FILE.read_bytes())
    folder = serving.MODEL_FOLDER
    if model.format == "safetensors":
        missing = [name for name in ("config.json", "*.safetensors") if not list(folder.glob(name))]
    else:
        missing = (
            [] if (folder / "tokenizer" / "config.json").exists() else ["tokenizer/config.json"]
        )
        digest = hashlib.sha256()
        with (folder / model.file).open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
        if digest.hexdigest() != model.sha256:
            sys.exit(f"{model.file} has SHA-256 {digest.hexdigest()}, not {model.sha256}")
    if missing:
        sys.exit(f"{folder} has no {', '.join(missing)}")
    print(f"model: {model.repository} {model.file} as {model.served_name!r}")


if __name__ == "__main__":
    main()
