"""What no lesson reads: a quiet start, files, progress bars, pictures, and the notebooks as files."""
