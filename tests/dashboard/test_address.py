"""The address bar: every view survives the way there and back, and nonsense is named and left out."""

from dataclasses import fields, replace
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.text_paths import BASELINES
from analysis.word_measures import WORD_MEASURES
from dashboard.address import FIELDS, from_query, read_method, to_link, to_query, write_method
from dashboard.case import CUSTOM, FIRST_IMAGE, MAX_PINS, TEMPLATES, Case, Pin
from dashboard.pages import PAGES
from dashboard.pages.affinity.settings import RAMPS, AffinitySettings
from dashboard.pages.flip.settings import LOOKS, SAMPLES, SPLITS, FlipSettings
from dashboard.pages.layers.settings import BESIDE, LayersSettings
from dashboard.pages.maps.settings import MAX_POINTS, SCALES, WALKER, MapsSettings
from dashboard.pages.redundancy.settings import RedundancySettings
from dashboard.pages.space.settings import COLOURS, PROJECTIONS, TOKENS_OF, SpaceSettings
from dashboard.pages.words.settings import SIDES, WordsSettings
from dashboard.panels.sidebar import opening_case
from dashboard.settings import Settings, View
from data.samples import load_sample
from surgery import METHODS, Method
from surgery.attention import KINDS
from surgery.methods import POSITION_INTERPOLATIONS

texts = st.text(st.characters(categories=("L", "N", "P", "S", "Zs")), min_size=1, max_size=30).filter(str.isprintable)
naturals = st.integers(0, 40)
numbers = st.floats(-9, 9, width=16)
names = st.sampled_from((*METHODS, CUSTOM))
methods = st.builds(
    Method,
    attention=st.sampled_from(KINDS),
    blocks=st.integers(1, 24),
    residual=st.floats(0, 1, width=16),
    alpha=st.floats(0, 100, width=16),
    mlp=st.booleans(),
    position_interpolation=st.sampled_from(POSITION_INTERPOLATIONS),
)
prompts = st.lists(texts, min_size=1, max_size=4, unique=True).map(tuple)
templates = st.sampled_from(TEMPLATES)
sizes = st.none() | st.integers(1, 2048)
pins = st.builds(
    lambda prompts, **rest: Pin(prompts=prompts, prompt=len(prompts) - 1, **rest),
    prompts,
    model=texts,
    weights=texts,
    image=texts,
    size=sizes,
    templates=templates,
    method=names,
    custom=methods,
    feature_surgery=st.booleans(),
)
cases = st.builds(
    Case,
    model=texts,
    weights=texts,
    image=texts,
    prompts=prompts,
    templates=templates,
    caption=texts,
    region=texts,
    patch=st.none() | st.tuples(naturals, naturals),
    layer=st.none() | naturals,
    head=st.none() | naturals,
    word=st.none() | naturals,
    prompt=texts,
    component=texts,
    removed=st.lists(st.sampled_from(("a0", "a3.h1", "m3", "m11")), unique=True).map(tuple),
    methods=st.lists(names, unique=True).map(tuple),
    custom=methods,
    method_a=names,
    feature_surgery=st.booleans(),
    size=sizes,
    pins=st.lists(pins, max_size=2).map(tuple),
)


settings = st.tuples(
    st.builds(
        MapsSettings,
        method_b=names,
        difference=st.booleans(),
        scale=st.sampled_from(SCALES),
        threshold=st.none() | numbers,
        points=st.booleans(),
        judged=st.booleans(),
        masks=st.booleans(),
        mask_prompt=texts,
        mask_cut=st.sampled_from((0.05, 0.5, 1.0)),
        mask_with=st.sampled_from((WALKER, "facebook/sam-vit-base")),
        mask_points=st.lists(st.tuples(naturals, naturals, st.integers(0, 1)), max_size=MAX_POINTS).map(tuple),
        mask_box=st.none() | st.just((0, 1, 20, 30)),
        mask_object=naturals,
        mask_candidate=naturals,
    ),
    st.builds(
        FlipSettings,
        beside=st.booleans(),
        look=st.sampled_from(LOOKS),
        split=st.sampled_from(SPLITS),
        samples=st.sampled_from(SAMPLES),
        channel=st.none() | naturals,
    ),
    st.builds(LayersSettings, frobenius=st.booleans(), beside=st.sampled_from(BESIDE)),
    st.builds(
        AffinitySettings,
        kinds=st.lists(st.sampled_from(KINDS), unique=True).map(tuple),
        ramp=st.sampled_from(RAMPS),
    ),
    st.builds(RedundancySettings, struck=texts),
    st.builds(
        WordsSettings,
        measure=st.sampled_from([*WORD_MEASURES]),
        baseline=st.sampled_from(BASELINES),
        every=st.booleans(),
        side=st.sampled_from(SIDES),
    ),
    st.builds(
        SpaceSettings,
        tokens_of=st.sampled_from(TOKENS_OF),
        overlay=st.lists(naturals.map(str) | names, unique=True).map(tuple),
        projection=st.sampled_from(PROJECTIONS),
        colour=st.sampled_from(COLOURS),
        lit=st.sets(st.integers(0, 2500)).map(lambda lit: tuple(sorted(lit))),
    ),
)
views = st.builds(View, cases, settings)


def bare(_given: dict) -> Case:
    """Nothing stands for what an address does not say."""
    return Case()


def test_every_field_has_its_own_parameter() -> None:
    assert set(FIELDS) == {field.name for field in fields(Case)}
    names = [field.name for field in FIELDS.values()]
    for page in PAGES:
        assert page.settings is not Settings and page.name == page.settings.PAGE
        assert set(page.settings.FIELDS) == {field.name for field in fields(page.settings)}
        names += [f"{page.name}.{field.name}" for field in page.settings.FIELDS.values()]
    assert len(set(names)) == len(names)


@given(views)
def test_a_view_survives_the_query(view: View) -> None:
    assert from_query(to_query(view), bare) == (view, [])


@given(views)
def test_a_view_survives_the_link(view: View) -> None:
    query = parse_qs(urlsplit(to_link("http://127.0.0.1:8501/maps", view)).query, keep_blank_values=True)
    assert from_query(query, bare)[0] == view


def test_settings_stand_behind_the_name_of_their_page_and_defaults_are_left_out() -> None:
    view = View(Case(region="box:0,0,9,9"), (FlipSettings(beside=True), MapsSettings()))
    assert to_query(view) == {"image": [FIRST_IMAGE], "p": [""], "region": ["box:0,0,9,9"], "flip.beside": ["1"]}
    assert view.of(FlipSettings).beside and view.of(MapsSettings) == MapsSettings()


def test_an_address_takes_what_belongs_to_its_image_and_model_for_the_rest() -> None:
    scene, photograph = load_sample("toy-3"), load_sample("china")
    partial, empty = from_query({"image": ["toy-3"]}, opening_case)[0].case, from_query({}, opening_case)[0].case
    assert partial == Case(image="toy-3", prompts=scene.prompts, region=f"object:{next(iter(scene.masks))}")
    assert empty.image == FIRST_IMAGE and empty.prompts and empty.region
    assert from_query({"image": ["toy-3"], "p": ["a"]}, opening_case)[0].case == replace(partial, prompts=("a",))
    assert from_query({"image": ["china"]}, opening_case)[0].case.prompts == photograph.prompts
    assert from_query({"model": ["ViT-B-32"]}, opening_case)[0].case.weights == "openai"
    assert from_query({"model": ["nonsense"], "image": ["sha256:ab"]}, opening_case)[0].case == Case(
        model="nonsense", image="sha256:ab"
    )


def test_what_was_cleared_stays_cleared_in_the_address() -> None:
    cleared = View(Case(image="toy-3"))
    assert from_query(to_query(cleared), opening_case)[0] == cleared


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("patch", "7"),
        ("patch", "-1,3"),
        ("space.lit", "3-"),
        ("space.lit", "0-999999999999"),
        ("space.overlay", "unknown"),
        ("words.measure", "loud"),
        ("maps.mask_with", "../../etc/passwd"),
        ("maps.mask_points", "1.2"),
        ("maps.mask_box", "5.5.5.9"),
        ("block", "two"),
        ("custom", "vv,0,1,1,0,bicubic"),
        ("custom", "vv,1,nan,1,0,bicubic"),
        ("custom", "vv"),
        ("without", "a3.bias"),
        ("without", ",".join(f"m{block}" for block in range(41))),
        ("flip.look", "loud"),
        ("methods", "clip,unknown"),
        ("maps.scale", "loud"),
        ("size", "100000"),
        ("maps.threshold", "inf"),
        ("surgery", "yes"),
        ("templates", "../../etc"),
        ("p", "a\x00b"),
        ("pin", "[1, 2]"),
        ("pin", "{"),
        ("pair", "1,99"),
        ("compare.place", "1000,0"),
        ("image", "x" * 3000),
    ],
)
def test_nonsense_is_named_and_the_default_stays(name: str, value: str) -> None:
    assert from_query({name: [value]}, bare) == (View(), [name])


def test_no_more_pins_than_the_drawer_holds() -> None:
    pin = Pin("toy", "", "toy-0", None, "none", ("grass",), 0, "clip", Method(), False)
    one = to_query(View(Case(pins=(pin,))))["pin"]
    assert from_query({"pin": one * 19}, bare)[0].case.pins == (pin,) * MAX_PINS


def test_a_method_is_written_in_the_order_of_its_fields() -> None:
    method = Method("qq+kk", 3, 0.5, 1.25, True, "bilinear")
    assert write_method(method) == "qq+kk,3,0.5,1.25,1,bilinear"
    assert read_method(write_method(method)) == method
    assert read_method(write_method(METHODS["sc_clip"])) == METHODS["sc_clip"]
