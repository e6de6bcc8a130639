"""What no lesson reads: a quiet start, files, progress bars and pictures."""
