"""Which study is shown: choose one, or begin one over a collection and the model of the case."""

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from analysis.studies import Progress, Study, StudyState, run_study
from dashboard import archives, catalogue, services, state, studies
from dashboard.case import Case, describe_model
from dashboard.jobs import Job
from dashboard.pages.study.settings import StudySettings
from dashboard.panels.page import EXPECTED
from dashboard.panels.texts import plain
from dashboard.panels.work import work_through
from data.images import IMAGE_SUFFIXES

PROBLEM, UPLOADS = "study archive", "study uploads"
LIMITS = (0, 20, 100, 1000)
"""How many pictures of a collection may be studied; 0 for all."""


def render_begin(case: Case, settings: StudySettings) -> None:
    """The choice, folded away once a study is shown; a study that is not complete goes on here."""
    begun = bool(settings.id and studies.parts_done(settings.id))
    with st.expander("Choose or begin a study", expanded=not begun):
        first, second, third = st.columns([1.2, 1.2, 1])
        with first:
            _render_known(settings)
        with second:
            _render_collections(case, settings)
        with third:
            _render_upload()
    if settings.id.startswith("own-"):
        _run(settings.id, begun)


def _render_known(settings: StudySettings) -> None:
    known = studies.lab_studies()
    options = ["", *known] if settings.id in ("", *known) else ["", *known, settings.id]
    st.selectbox(
        "Finished studies",
        options,
        format_func=_title,
        help="Folders below the one that clip-theatre app --studies FOLDER names.",
        **state.setting(settings, "id"),
    )


def _title(id: str) -> str:
    if id.startswith("lab-"):
        return id.removeprefix("lab-")
    return "the one begun here" if id else "none"


def _render_collections(case: Case, settings: StudySettings) -> None:
    found = {item.key: item for item in studies.collections(tuple(settings.zips.split()))}
    chosen = settings.collection if settings.collection in found else studies.TOY
    st.selectbox(
        "Collection",
        list(found),
        format_func=lambda key: found[key].title,
        help="Data sets come from clip-theatre app --data FOLDER.",
        **state.setting(settings, "collection", chosen),
    )
    limits = sorted({*LIMITS, settings.limit or 0})
    st.selectbox(
        "Pictures",
        limits,
        format_func=lambda limit: f"the first {limit:,}" if limit else "all",
        **state.setting(settings, "limit", settings.limit or 0, lambda limit: limit or None),
    )
    name = plain(describe_model(case.model, case.weights))
    st.button(
        f"Study it with {name}",
        type="primary",
        icon=":material/play_arrow:",
        on_click=_begin,
        args=(case, found[chosen], settings.limit),
        help="Seven methods, layers, lens and blame of every picture. It goes on where it was stopped.",
    )


def _begin(case: Case, collection: studies.Collection, limit: int | None) -> None:
    try:
        name, pretrained = catalogue.source_of(case.model, case.weights)
        if catalogue.missing_download(case.model, case.weights) is not None:
            raise ValueError(f"Expected the weights of {name} to be here; open the page Maps to download them first")
        study = studies.request_of(collection, name, pretrained, services.model(case).tower, limit)
    except EXPECTED as error:
        state.set_problem(PROBLEM, "", str(error))
        return
    id = studies.id_of(study)
    state.note("begun studies", begun_studies() | {id: study})
    state.adjust(StudySettings, id=id, text="", low=None, high=None, chosen=(), component="", depth=None, page=0)


def begun_studies() -> dict[str, Study]:
    """Id -> study, of those that this visitor has begun or gone on with."""
    return state.recall("begun studies", {})


def _run(id: str, begun: bool) -> None:
    """Runs what is missing of a study; one from before a restart, or of an address, goes on when it is asked to."""
    study = begun_studies().get(id)
    if study is None and begun and not studies.opened(id).state.complete:
        study = studies.opened(id).study
        st.button(
            f"Go on with this study: {studies.opened(id).state}",
            icon=":material/play_arrow:",
            on_click=lambda: state.note("begun studies", begun_studies() | {id: study}),
        )
    elif study is not None:
        _go_on(id, study)


def _go_on(id: str, study: Study) -> None:
    folder = studies.folder_of(id)

    def work(job: Job[StudyState]) -> StudyState:
        return run_study(study, folder, progress=lambda done: job.report(done.done / done.images, _words(done)))

    try:
        work_through((id, "run"), "Studying the pictures", work)
    except RuntimeError as error:  # another process, such as the command, works on this folder
        st.info(plain(str(error)))
    except EXPECTED as error:
        st.error(plain(str(error)))


def _words(progress: Progress) -> str:
    left = f", {progress.seconds_left:.0f} s left" if progress.seconds > 1 else ""
    return f"{progress.done:,} of {progress.images:,} pictures, {progress.images_per_second:.1f} a second{left}"


def _render_upload() -> None:
    key = f"study files {state.recall(UPLOADS, 0)}"  # another widget after each upload, so that they do not add up
    st.file_uploader(
        "Bring pictures with masks",
        type=["zip", "txt", *(suffix.removeprefix(".") for suffix in IMAGE_SUFFIXES)],
        accept_multiple_files=True,
        max_upload_size=archives.MAX_UPLOAD_MB,
        key=key,
        on_change=_take_upload,
        args=(key,),
        help="A ZIP with images/NAME.jpg and masks/NAME.png, or the files themselves: NAME.jpg with NAME.png or "
        "NAME_mask.png. Masks hold ids of classes, or are white on black; classes.txt has a line id, tab, name a class "
        "where there are several. Kept for a day; only its address finds it.",
    )
    problem = state.problem(PROBLEM)
    if problem is not None:
        st.error(plain(problem[1]))


def _take_upload(key: str) -> None:
    state.clear_problem(PROBLEM)
    files: list[UploadedFile] = st.session_state[key]
    if not files:
        return
    state.note(UPLOADS, state.recall(UPLOADS, 0) + 1)
    try:
        archive = archives.gather([(file.name, file.getvalue()) for file in files])
    except EXPECTED as error:
        state.set_problem(PROBLEM, files[0].name, str(error))
        return
    known = state.settings(StudySettings).zips.split()
    zips = " ".join(dict.fromkeys([*known, archive.sha256]))
    state.adjust(StudySettings, zips=zips, collection=f"zip:{archive.sha256}")
