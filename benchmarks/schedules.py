"""What a noise schedule does in training: the network ``fast``, trained with an aggressive and with a gentle one.

``python -m benchmarks.schedules [--minutes M] [SCHEDULE …]`` trains the network for one pass over MNIST with each
schedule, from three seeds, and measures it as benchmarks.ablation does. Each network draws with its own schedule. The
rows "fast" of ``results/ablation.json`` are those of the cosine schedule. The program writes ``results/schedules.json``
for lesson 6. Each row is saved as soon as it is measured (about 5 minutes of computing each): you may stop the program
and start it again. To measure everything again, delete the file.
"""

from benchmarks import ablation, report
from benchmarks.ablation import Variant
from labutils import data
from labutils.schedule import linear_schedule

# The last β is 0.1 and 0.005; that of the usual linear schedule is 0.02. Lesson 6 shows what it means in SNR.
VARIANTS = {
    "aggressive": Variant(schedule=linear_schedule(beta_end=0.1), seeds=3),
    "gentle": Variant(schedule=linear_schedule(beta_end=0.005), seeds=3),
}


def plan():
    """The rows, those of the first seed first."""
    return sorted(ablation.plan(VARIANTS), key=lambda item: item["seed"])


def rows():
    """The result file."""
    about = {"images": ablation.IMAGES, "calls": ablation.CALLS, **report.about(report.JUDGES)}
    return report.Rows("schedules", plan(), about)


def main():
    """Measure what is missing."""
    options, dataset = report.arguments(__doc__, "SCHEDULE", VARIANTS), data.load("mnist")

    def measure(item):
        return ablation.measure(item, dataset, variants=VARIANTS)

    ablation.fill(rows(), options.names, options.budget, measure)


if __name__ == "__main__":
    main()
