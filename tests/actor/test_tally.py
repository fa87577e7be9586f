"""What a control process counts, and that the next one counts on."""

from actor.episode import Episode, Plan
from actor.pacing import LockstepPacer
from actor.shared import Board, create_block
from actor.tally import Tally
from episodes.outcome import Outcome, Purpose


def test_a_control_process_started_again_counts_on():
    board = Board(create_block(Board.SIZE))
    for number in range(2):
        tally = Tally(board)
        assert tally.evaluated == number
        for outcome in (Outcome.SUCCESS, Outcome.FAILURE, Outcome.CUT):
            episode = Episode("0" * 32, Plan(Purpose.TRAINING, 0), 10, 3, 1, outcome=outcome)
            tally.step(episode, policy_version=7)
            tally.score(episode)
            tally.end(episode, LockstepPacer())
        tally.evaluated = number + 1
    control = board.control
    counted = [int(control[name]) for name in ("env_steps", "human_steps", "held_steps", "episodes", "policy_version")]
    assert counted == [60, 18, 6, 6, 7]
    assert (int(control["successes"]), int(control["scored"])) == (2, 4)
