"""What no lesson reads: a quiet start, checks of arguments, files, progress bars and pictures."""
