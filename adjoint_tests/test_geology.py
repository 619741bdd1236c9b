"""Random geology: what every drawn model has in common, and what a file of a top surface may not get wrong."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.ndimage import label

from solvers.geology import (
    MILLIDARCY,
    correlated_field,
    draw_injectors,
    draw_layers,
    load_top,
    random_patch,
    synthetic_top,
)

SHAPE, SPACING = (20, 24, 12), (50.0, 50.0, 5.0)
REAL_TOP = Path(__file__).parents[2] / "shared" / "data" / "sleipner_tops_orig.h5"


def layers(seed: int):
    return draw_layers(np.random.default_rng(seed), SHAPE, SPACING)


# The rock


def test_correlated_field_has_mean_zero_variance_one_everywhere_and_the_correlation_it_promises():
    fields = np.array([correlated_field(np.random.default_rng(s), (12, 12), (4.0, 4.0)) for s in range(3000)])
    assert abs(fields.mean()) < 0.03
    assert np.allclose(fields.var(axis=0), 1.0, atol=0.12)  # at edges and corners too
    assert abs((fields[:, 2, 5] * fields[:, 6, 5]).mean() - np.exp(-1.0)) < 0.06


def test_seals_are_a_million_times_tighter_than_sands():
    for seed in range(10):
        rock = layers(seed)
        k = rock.permeability_x / MILLIDARCY
        is_seal = np.zeros(SHAPE, bool)
        is_seal[:, :, rock.seals] = True
        seal, sand = k[is_seal & ~rock.feeders], k[~is_seal]
        assert 1e-4 < seal.min() and seal.max() < 1e-2
        assert sand.min() / seal.max() > 1e4
        assert np.median(sand) / np.median(seal) > 1e6


def test_sands_have_the_published_range_of_permeability():
    medians = [np.median(layers(seed).permeability_x[:, :, -1]) / MILLIDARCY for seed in range(100)]
    assert 700.0 < min(medians) and max(medians) < 8000.0
    assert abs(np.log(np.median(medians) / np.sqrt(1100.0 * 5000.0))) < 0.25


def test_vertical_permeability_is_a_tenth_outside_feeders_and_equal_inside():
    rock = layers(3)
    ratio = rock.permeability_z / rock.permeability_x
    assert np.allclose(ratio[rock.feeders], 1.0) and np.allclose(ratio[~rock.feeders], 0.1)


def test_feeders_connect_all_sands_and_nothing_else_does():
    for seed in range(10):
        rock = layers(seed)
        conducting = rock.permeability_z > 0.5 * MILLIDARCY
        assert label(conducting)[1] == 1
        assert label(conducting & ~rock.feeders)[1] == len(rock.seals) + 1


def test_sands_have_at_least_two_layers_and_the_lowest_three():
    for nz in range(6, 40):
        for seed in range(5):
            seals = draw_layers(np.random.default_rng(seed), (6, 6, nz), SPACING).seals
            bounds = [-1, *seals, nz]
            thickness = np.diff(bounds) - 1
            assert len(seals) >= 1 and thickness.min() >= 2 and thickness[-1] >= 3


def test_too_few_layers_are_refused():
    with pytest.raises(ValueError, match="nz >= 6"):
        draw_layers(np.random.default_rng(0), (8, 8, 5), SPACING)


def test_the_same_seed_draws_the_same_model_and_another_seed_another():
    assert np.array_equal(layers(1).permeability_x, layers(1).permeability_x)
    assert not np.array_equal(layers(1).permeability_x, layers(2).permeability_x)


# The wells


def test_injectors_lie_in_the_interior_in_the_lowest_layer_apart_and_share_the_rate():
    for seed in range(50):
        wells = draw_injectors(np.random.default_rng(seed), SHAPE, 0.01)
        assert len(wells) in (1, 2)
        assert sum(well.rate for well in wells) == pytest.approx(0.01)
        if len(wells) == 2:
            assert np.abs(np.subtract(wells[0].cell, wells[1].cell)).max() >= 5
        for well in wells:
            assert 5 <= well.cell[0] < 15 and 6 <= well.cell[1] < 18
            assert well.layers == (SHAPE[2] - 1, SHAPE[2])


# The top


def test_synthetic_top_resembles_the_real_one_in_depth_and_slope():
    tops = [synthetic_top(np.random.default_rng(seed)) for seed in range(10)]
    assert all(680.0 < top.min() and top.max() < 830.0 for top in tops)
    assert abs(np.mean(tops) - 752.0) < 5.0
    assert all(0.9 < np.abs(np.diff(top, axis=axis)).mean() < 1.6 for top in tops for axis in range(2))  # m in 50 m


def test_a_patch_at_the_same_spacing_is_a_flipped_copy_of_a_part():
    top = synthetic_top(np.random.default_rng(0))
    windows = np.lib.stride_tricks.sliding_window_view(top, (9, 11))
    flips = set()
    for seed in range(12):
        patch = random_patch(np.random.default_rng(seed), top, (50.0, 50.0), (9, 11), (50.0, 50.0))
        found = [axes for axes in ((), (0,), (1,), (0, 1)) if (windows == np.flip(patch, axes)).all(axis=(2, 3)).any()]
        assert len(found) == 1
        flips.add(found[0])
    assert len(flips) == 4


def test_a_patch_at_another_spacing_interpolates_linearly():
    plane = 700.0 + 2.0 * np.arange(20.0)[:, None] + 3.0 * np.arange(30.0)
    patch = random_patch(np.random.default_rng(5), plane, (50.0, 50.0), (8, 8), (25.0, 100.0))
    assert np.allclose(np.abs(np.diff(patch, axis=0)), 1.0) and np.allclose(np.abs(np.diff(patch, axis=1)), 6.0)


def test_a_patch_as_large_as_the_surface_fits_and_a_larger_one_is_refused():
    top = synthetic_top(np.random.default_rng(0), (10, 10))
    patch = random_patch(np.random.default_rng(0), top, (50.0, 50.0), (10, 10), (50.0, 50.0))
    assert sorted(patch.ravel()) == sorted(top.ravel())
    with pytest.raises(ValueError, match="500 x 450 m between its outer columns, the top surface only 450 x 450 m"):
        random_patch(np.random.default_rng(0), top, (50.0, 50.0), (11, 10), (50.0, 50.0))


# Files of a top


def hdf5(path: Path, tops, name: str = "tops", **attributes) -> Path:
    with h5py.File(path, "w") as file:
        file[name] = tops
        file[name].attrs.update(attributes)
    return path


def test_hdf5_top_is_read_as_it_is_and_cropped(tmp_path):
    top = 700.0 + np.arange(12.0).reshape(3, 4)
    path = hdf5(tmp_path / "top.h5", top)
    assert np.array_equal(load_top(path), top) and np.array_equal(load_top(path, shape=(3, 4)), top)
    assert np.array_equal(load_top(path, crop=((1, 3), (0, 2))), top[1:3, 0:2])


def test_eclipse_top_has_x_fastest_repeat_counts_and_comments(tmp_path):
    path = tmp_path / "TOPS.INC"
    path.write_text(
        "-- depths, m\nTOPS -- of the caprock's base\n 2*700 701.5\n702 -- two rows\n703 7.04e2 /\nIGNORED\n1 /\n"
    )
    assert load_top(path, shape=(3, 2)).tolist() == [[700.0, 702.0], [700.0, 703.0], [701.5, 704.0]]


@pytest.mark.parametrize(
    "text, message",
    [
        ("TOPS\n6*700\n", "truncated"),
        ("TOPS\n5*700 /\n", "5 values.*needs 6"),
        ("DEPTH\n6*700 /\n", "no keyword TOPS"),
        ("TOPS\n5*700 seven /\n", "'seven' is not a number"),
        ("TOPS\nx*700 /\n", "'x\\*700' is not a number"),
        ("TOPS /\n", "0 values"),
        ("TOPS\n99999999999999*750 /\n", "99999999999999 values.*needs 6"),
        ("TOPS\n-1*700 7*700 /\n", "'-1\\*700' is not a number"),
        ("GRIDUNIT\n FEET /\nTOPS\n6*2300 /\n", "GRIDUNIT .* is FEET; convert"),
        ("GRIDUNIT\n 'FEET    ' /\nTOPS\n6*2300 /\n", "GRIDUNIT .* is FEET; convert"),
        ("", "no keyword TOPS"),
    ],
)
def test_faults_of_an_eclipse_file_are_named(tmp_path, text, message):
    path = tmp_path / "TOPS.INC"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_top(path, shape=(3, 2))


def test_an_eclipse_file_needs_its_shape(tmp_path):
    path = tmp_path / "TOPS.INC"
    path.write_text("TOPS\n6*700 /\n")
    with pytest.raises(ValueError, match="give shape.*--tops-shape"):
        load_top(path)


@pytest.mark.parametrize("unit", ["METRES /", "'METRES' /", "/"])
def test_an_eclipse_file_in_metres_may_say_so(tmp_path, unit):
    path = tmp_path / "TOPS.INC"
    path.write_text(f"GRIDUNIT\n {unit}\nTOPS\n6*700 /\n")
    assert (load_top(path, shape=(3, 2)) == 700.0).all()


@pytest.mark.parametrize(
    "tops, message",
    [
        (np.full((3, 4, 1), 700.0), "2-D"),
        (np.full((3, 4), b"deep"), "2-D array of numbers"),
        (np.full((3, 4), np.nan), "NaN or infinite depths in 12"),
        (np.full((3, 4), np.inf), "NaN or infinite"),
        (np.full((3, 4), -700.0), "positive downward"),
        (np.full((3, 4), 70000.0), "feet"),
        (np.linspace(0.8, 0.83, 12).reshape(3, 4), "0.8 to 0.83.*metres.*kilometres"),
        (np.empty((0, 4)), "no column"),
    ],
)
def test_faults_of_an_hdf5_file_are_named(tmp_path, tops, message):
    with pytest.raises(ValueError, match=message):
        load_top(hdf5(tmp_path / "top.h5", tops))


def test_a_top_in_feet_another_name_another_shape_and_a_crop_outside_are_refused(tmp_path):
    top = np.full((3, 4), 700.0)
    for feet in ("ft", b"ft", "Feet", np.bytes_(b"FT"), np.array([b"ft"])):
        with pytest.raises(ValueError, match="convert it to metres"):
            load_top(hdf5(tmp_path / "feet.h5", top, units=feet))
    assert load_top(hdf5(tmp_path / "metres.h5", top, units=b"m")).shape == (3, 4)
    with pytest.raises(ValueError, match="no dataset 'tops'; it holds \\['depth'\\]"):
        load_top(hdf5(tmp_path / "name.h5", top, name="depth"))
    path = hdf5(tmp_path / "top.h5", top)
    with pytest.raises(ValueError, match="\\(3, 4\\) columns, expected \\(4, 3\\)"):
        load_top(path, shape=(4, 3))
    for crop in (((0, 4), (0, 4)), ((2, 2), (0, 4)), ((-1, 2), (0, 4)), ((0, 3),)):
        with pytest.raises(ValueError, match="crop"):
            load_top(path, crop=crop)


def test_missing_truncated_and_foreign_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file"):
        load_top(tmp_path / "absent.h5")
    with pytest.raises(IsADirectoryError, match="is a folder, expected a file"):
        load_top(tmp_path)
    path = hdf5(tmp_path / "top.h5", np.full((30, 40), 700.0))
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(OSError, match="truncated"):
        load_top(path)
    (tmp_path / "noise.h5").write_bytes(b"no HDF5 at all")
    with pytest.raises(OSError, match="no HDF5"):
        load_top(tmp_path / "noise.h5")
    (tmp_path / "picture.inc").write_bytes(bytes(range(256)))
    with pytest.raises(ValueError, match="neither HDF5 nor"):
        load_top(tmp_path / "picture.inc", shape=(3, 4))


@pytest.mark.skipif(not REAL_TOP.exists(), reason="the Sleipner surface is not part of the project; see its licence")
def test_the_real_top_is_read():
    top = load_top(REAL_TOP)
    assert top.shape == (64, 118)
    assert top.min() == pytest.approx(720.504, abs=1e-3) and top.max() == pytest.approx(787.813, abs=1e-3)
    assert top.mean() == pytest.approx(750.287, abs=1e-3)
    patch = random_patch(np.random.default_rng(0), top, (50.0, 50.0), (24, 24), (80.0, 80.0))
    assert top.min() <= patch.min() < patch.max() <= top.max()
