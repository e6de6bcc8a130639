"""List the checkpoints and where they come from."""

from labutils import pretrained


def add_arguments(parser):
    """The command's arguments."""
    parser.add_argument("--folder", metavar="DIR", default=pretrained.CHECKPOINT_DIR, help=pretrained.FOLDER_HELP)


def main(options):
    """Run the command."""
    names = pretrained.names(options.folder)
    if not names:
        raise FileNotFoundError(f"no checkpoints in {options.folder}")
    for name in names:
        about = pretrained.read_record(name, options.folder)
        missing = {"dataset", "epochs", "seconds", "seed", "versions"} - about.keys()
        if missing:
            print(f"{name}: network {about['network']}, its record lacks {', '.join(sorted(missing))}")
            continue
        if "test_mse" in about:
            quality = f"test noise MSE {about['test_mse']['mean']:.4f}"
        elif "test_accuracy" in about:
            quality = f"test accuracy {about['test_accuracy']:.2%}"
        elif "test_error" in about:
            quality = f"mean squared error of test reconstructions {about['test_error']:.4f}"
        else:
            quality = f"last test loss {about.get('history', {}).get('val_loss', [float('nan')])[-1]:.4f}"
        print(f"{name}: network {about['network']}, {about['parameters']:,} parameters, input {about['input_shape']}")
        print(
            f"    trained on {about['dataset']} for {about['epochs']} epochs in {about['seconds'] / 3600:.1f} h, "
            f"seed {about['seed']}; {quality}"
        )
        print(
            f"    {', '.join(f'{k} {v}' for k, v in about['versions'].items())}; "
            f"SHA-256 {about['weights_sha256'][:16]}…"
        )
