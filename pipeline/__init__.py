"""What every stage stands on: the runner, manifests, text lines, languages and errors."""
