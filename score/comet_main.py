"""Scores lines with COMET; run by `score.comet` with the Python that has its package."""

import json
import logging
import sys
import warnings


def main() -> None:
    """Read model and lines from standard input as JSON, write the scores to the file named."""
    warnings.simplefilter("ignore")
    import torch
    from comet import load_from_checkpoint

    logging.disable(logging.WARNING)
    task = json.load(sys.stdin)
    model = load_from_checkpoint(task["model"])
    scores = []
    for lines in task["systems"]:  # apart: COMET's scores depend a little on a line's neighbours
        predicted = model.predict(
            lines, batch_size=16, gpus=int(torch.cuda.is_available()), num_workers=0
        )
        scores.append([float(score) for score in predicted.scores])
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        json.dump(scores, file)


if __name__ == "__main__":
    main()
