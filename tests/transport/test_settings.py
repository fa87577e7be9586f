from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from episodes.acting import ActingSettings
from transport import service_pb2 as pb
from transport.settings import SettingError, config_from, settings_of


@dataclass(frozen=True)
class Flat:
    whole: int
    real: float = 0.5
    flag: bool = False
    text: str = ""
    numbers: tuple[int, ...] = ()
    reals: tuple[float, ...] = ()
    names: tuple[str, ...] = ()


whole = st.integers(-(2**53), 2**53)
real = st.floats(allow_nan=False)


@given(
    st.builds(
        Flat,
        whole,
        real,
        st.booleans(),
        st.text(),
        st.lists(whole).map(tuple),
        st.lists(real).map(tuple),
        st.lists(st.text()).map(tuple),
    )
)
def test_any_flat_dataclass_survives_the_wire(config):
    sent = pb.RunDescription(env_settings=settings_of(config)).SerializeToString()
    assert config_from(Flat, pb.RunDescription.FromString(sent).env_settings) == config


def test_defaults_fill_what_was_not_sent():
    assert config_from(Flat, [pb.Setting(key="whole", integer=3)]) == Flat(3)
    assert config_from(ActingSettings, []) == ActingSettings()


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        (pb.Setting(key="_target_", text="os.system"), r"Flat has no setting '_target_'\. It has: \['flag', 'names'"),
        (pb.Setting(key="whole", number=1.5), r"setting Flat\.whole must be int\. Got: number"),
        (pb.Setting(key="flag", text="yes"), r"setting Flat\.flag must be bool\. Got: text"),
        (pb.Setting(key="text"), r"setting Flat\.text must be str\. Got: nothing"),
        (pb.Setting(key="names", numbers=pb.Numbers(values=[1])), r"setting Flat\.names must be .*Got: numbers"),
    ],
)
def test_unknown_and_mistyped_settings_are_refused_by_name(setting, text):
    with pytest.raises(SettingError, match=text):
        config_from(Flat, [pb.Setting(key="whole", integer=1), setting])


def test_a_missing_setting_is_named():
    with pytest.raises(SettingError, match=r"Flat needs the settings \['whole'\], which were not sent"):
        config_from(Flat, [])


def test_a_value_the_wire_has_no_type_for_is_refused():
    @dataclass(frozen=True)
    class Bad:
        where: object = None

    with pytest.raises(SettingError, match=r"setting 'where' must be a number, flag, text or a list"):
        settings_of(Bad())
