"""The verbs of `tandem`, and what each is for. Imports nothing: `tandem --help` answers at once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Verb:
    """One verb.

    Attributes:
        name: As typed, one word or two.
        summary: One line.
        about: What it does, a few lines.
        examples: Commands with what they are for.
    """

    name: str
    summary: str
    about: str
    examples: tuple[tuple[str, str], ...]

    @property
    def module(self) -> str:
        """cli/MODULE.py has ``list_keys()``, ``list_groups()``, ``run(settings)``; configs/MODULE.yaml its choices."""
        return self.name.replace(" ", "_")


VERBS: dict[str, Verb] = {
    verb.name: verb
    for verb in (
        Verb(
            "demo",
            "train a simulated SO-101 on this machine, with a scripted person helping",
            "Records demonstrations, starts a learner and an actor on loopback, shows their progress, ends when the "
            "policy succeeds on its own, evaluates it on starts never used before and writes report.html. Exit code "
            "3 when a cap on steps or time came first.",
            (
                ("tandem demo", "the whole path, in a few minutes"),
                ("tandem demo seed=1 run=runs/second", "another seed, in a folder of your choice"),
                ("tandem demo run=runs/second", "goes on where that run stopped"),
                ("tandem demo obs=state", "from numbers of the simulator instead of two cameras: quicker"),
                ("tandem demo env.task=insert obs=state", "a task that imitation alone does not finish"),
            ),
        ),
        Verb(
            "learner",
            "host replay, updates and policy of one run, for any number of actors",
            "Waits for actors, and prints the line that starts one. Listens on loopback, for this machine and ssh -L; "
            "with learner.address=0.0.0.0:50051 on every address, encrypted. Everything the run consists of is set "
            "here: actors learn it when they join. Ctrl-C stops it with a checkpoint, and "
            "run=FOLDER goes on from there.",
            (
                ("tandem learner env=so101_sim", "the simulated SO-101"),
                ("tandem learner env=so101_sim demos=runs/demos", "with demonstrations of `tandem record`"),
                ("tandem learner env=gym env.id=Pendulum-v1", "any gymnasium environment"),
                ("tandem learner run=runs/mine", "start in, or resume, this folder"),
                ("tandem learner policy.pretrained=runs/mine", "start from a trained policy"),
            ),
        ),
        Verb(
            "actor",
            "drive the robot or simulator of a run, with or without a person who can take over",
            "Connects to a learner, which tells it environment and policy; waits, and says so, while nobody listens. "
            "What belongs to this machine is set here: operator, spool, safety limits.",
            (
                ("tandem actor learner.address=localhost:50051", "a policy on its own"),
                ("tandem actor operator=scripted", "with the scripted person of the simulation"),
                ("tandem actor operator=keyboard pacing=realtime", "with you at the keyboard"),
                ("ssh -L 50051:localhost:50051 GPUBOX", "first, when the learner runs elsewhere"),
            ),
        ),
        Verb(
            "certs",
            "make the certificate of an actor, for a learner with learner.tls=mutual",
            "Run it on the learner's machine. The file holds a private key: copy it to the actor's machine, "
            "readable by its owner alone, and start the actor there with learner.certificate=FILE.",
            (
                ("tandem certs name=laptop", "writes laptop.pem"),
                ("tandem certs name=laptop out=keys/laptop.pem days=30", "for a month"),
            ),
        ),
        Verb(
            "record",
            "record demonstrations that a learner takes with demos=PATH",
            "An operator drives every step; each episode goes to the folder out= as it happens.",
            (
                ("tandem record env=so101_sim operator=scripted episodes=20", "by the scripted person"),
                ("tandem record env=so101_sim operator=keyboard out=runs/mine", "by you"),
            ),
        ),
        Verb(
            "eval",
            "measure a trained policy on starts never used before, without a person",
            "Episodes with the best policy of a run, without exploration noise (with algorithm.stall_steps, noise only "
            "where it has come to rest); prints success with its 95 % Wilson interval.",
            (
                ("tandem eval run=runs/demo", "50 episodes"),
                ("tandem eval run=runs/demo episodes=200", "a narrower interval"),
            ),
        ),
        Verb(
            "label",
            "say which recorded frames look like success, and correct outcomes, in a local page",
            "Serves a page on this machine's loopback where keys step through episodes and label frames. Labels are "
            "kept as they are given, so that it can be stopped and started again. Of a run that is going on, a changed "
            "outcome reaches the learner at once.",
            (
                ("tandem label data=runs/labels", "recordings"),
                ("tandem label data=runs/mine", "a run, also while it trains"),
                ("tandem label data=DATASET episode=3 frame=40", "a LeRobotDataset, opened at a frame"),
            ),
        ),
        Verb(
            "reward train",
            "train a success classifier from labelled frames, and measure what it is worth",
            "Splits by episode, calibrates, chooses the threshold, and writes classifier, report.html and report.json "
            "to the folder out=. Labels come from `tandem record` (key M), `tandem label`, people's verdicts in a run, "
            "LeRobotDatasets (next.reward) and image folders (LABEL/EPISODE/).",
            (
                ("tandem record env.obs=pixels reward=human near_misses=15 out=runs/labels", "first, some labels"),
                ("tandem reward train data=runs/labels", "train and measure"),
                ("tandem reward train data=[runs/labels,runs/mine] out=runs/mine/reward", "hand it to a running run"),
            ),
        ),
        Verb(
            "status",
            "what a running learner and its actors are doing",
            "Asks once and prints a table, or one JSON object with json=true.",
            (
                ("tandem status learner.address=localhost:50051", "a table"),
                ("tandem status run=runs/mine", "of a learner or a demo that runs in this folder"),
                ("tandem status json=true", "for programs"),
            ),
        ),
    )
}
