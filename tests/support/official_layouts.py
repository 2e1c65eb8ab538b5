"""The benchmarks' sets, small, laid out as their authors do, with what is known to be odd in them."""

from __future__ import annotations

import itertools
import pickle
from pathlib import Path

import numpy as np
from PIL import Image


def picture(path: Path, seed: int, *, grey: bool = False, side: int = 8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (side, side) if grey else (side, side, 3), np.uint8)
    Image.fromarray(pixels).save(path, quality=95)


def lines(path: Path, rows: list[str], end: str = "\n") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((end.join(rows) + end).encode())


def cub200(folder: Path, classes: int = 4, each: int = 4) -> list[tuple[str, int]]:
    """Numbers of pictures in no order, Windows line ends, a grey picture, and one of a hidden kind beside it.

    Returns:
        Name and class of each picture, in the order of images.txt.
    """
    rows = [(f"{c:03d}.Bird_{c}/Bird {c}_{i:04d}.jpg", c) for c in range(1, classes + 1) for i in range(each)]
    for seed, (name, _) in enumerate(rows):
        picture(folder / "images" / name, seed, grey=seed == each)
    picture(folder / "images" / "001.Bird_1" / "._Bird 1_0000.jpg", 0)
    numbers = np.random.default_rng(1).permutation(len(rows)) + 1
    lines(folder / "images.txt", [f"{n} {name}" for n, (name, _) in zip(numbers, rows, strict=True)], "\r\n")
    by_number = sorted(zip(numbers.tolist(), (c for _, c in rows), strict=True))
    lines(folder / "image_class_labels.txt", [f"{n} {c}" for n, c in by_number], "\r\n")
    return rows


def cars196(folder: Path, classes: int = 4, each: int = 4) -> list[tuple[str, int]]:
    """Annotations as MATLAB keeps them, the sixth picture's file missing."""
    from scipy.io import savemat

    rows = [(f"car_ims/{i + 1:06d}.jpg", i % classes + 1) for i in range(classes * each)]
    for seed, (name, _) in enumerate(rows):
        if seed != 5:
            picture(folder / name, seed)
    fields = ["relative_im_path", "bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "test"]
    annotations = np.zeros((1, len(rows)), dtype=[(name, object) for name in fields])
    for place, (name, number) in enumerate(rows):
        annotations[0, place] = (name, 1, 1, 5, 5, number, place % 2)
    titles = np.array([f"Make {c} Sedan 2012" for c in range(1, classes + 1)], dtype=object)
    savemat(folder / "cars_annos.mat", {"annotations": annotations, "class_names": titles})
    return rows


def sop(folder: Path, classes: int = 6, each: int = 3) -> list[tuple[str, int]]:
    """Classes go on counting from one list to the other; a grey picture, and a name with blanks."""
    rows = [(f"bicycle_final/{1000 + c} {i}.JPG", c) for c in range(1, classes + 1) for i in range(each)]
    for seed, (name, _) in enumerate(rows):
        picture(folder / name, seed, grey=seed == 1)
    header = "image_id class_id super_class_id path"
    half = classes // 2 * each
    for file, part, first in (("Ebay_train.txt", rows[:half], 1), ("Ebay_test.txt", rows[half:], half + 1)):
        lines(folder / file, [header, *(f"{first + i} {c} 1 {name}" for i, (name, c) in enumerate(part))])
    return rows


def inshop(folder: Path) -> list[tuple[str, str, str]]:
    """The partition in Eval/, with the number of rows and the columns' names above, and columns of even width."""
    rows = []
    for item in range(1, 7):
        for place in range(4):
            status = "train" if item <= 2 else "query" if place < 2 else "gallery"
            rows.append((f"img/WOMEN/Blouses_Shirts/id_{item:08d}/02_{place}_front.jpg", f"id_{item:08d}", status))
    for seed, (name, _, _) in enumerate(rows):
        picture(folder / name, seed)
    shown = [f"{name:<75}{item} {status}" for name, item, status in rows]
    lines(folder / "Eval" / "list_eval_partition.txt", [str(len(rows)), "image_name item_id evaluation_status", *shown])
    return rows


def revisited(folder: Path, truth: str = "gnd_roxford5k.pkl", *, python2: bool = False) -> dict[str, list]:
    """A ground truth as the authors pickle it: names without endings, lists that count from 0, a box in each question,
    the last question without an easy answer. Questions' pictures are not in the gallery."""
    rng = np.random.default_rng(3)
    gallery, asking = [f"all_souls_{i:06d}" for i in range(12)], [f"radcliffe_camera_{i:06d}" for i in range(4)]
    for seed, name in enumerate((*gallery, *asking)):
        picture(folder / "jpg" / f"{name}.jpg", seed, side=24)
    gnd = []
    for row in range(len(asking)):
        turn = rng.permutation(len(gallery))
        easy, hard, junk = turn[:3], turn[3:5], turn[5:8]
        bbx = [2.0 + row, 3.5, 14.0, 20.25]
        gnd.append({"bbx": bbx, "easy": easy.tolist(), "hard": hard.tolist(), "junk": junk.tolist()})
    gnd[-1] |= {"easy": [], "hard": [0, 1], "junk": []}
    truth_of = {"imlist": gallery, "qimlist": asking, "gnd": gnd}
    written: object = truth_of
    if python2:  # names as bytes, lists as arrays
        arrays = [{key.encode(): np.array(value) for key, value in one.items()} for one in gnd]
        written = {b"imlist": [n.encode() for n in gallery], b"qimlist": [n.encode() for n in asking], b"gnd": arrays}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / truth).write_bytes(pickle.dumps(written, 2))
    return truth_of


def market1501(folder: Path) -> dict[str, list[tuple[str, str, int]]]:
    """Distractors (0000), junk (-1), a person whom no other camera saw, and what systems leave in folders."""
    seen = {
        "bounding_box_train": [("0002", 1), ("0002", 2), ("0007", 1), ("0007", 3)],
        "query": [("0001", 1), ("0001", 2), ("0003", 1), ("0004", 5)],
        "bounding_box_test": [
            *[("0001", 1), ("0001", 1), ("0001", 2), ("0001", 3), ("0003", 1), ("0003", 4), ("0003", 6), ("0004", 5)],
            *[("0000", 1), ("0000", 4), ("0000", 1), ("-1", 1), ("-1", 2), ("-1", 5)],
        ],
    }
    found = {}
    for seed, (inside, people) in enumerate(seen.items()):
        rows = [(f"{who}_c{camera}s1_{i:06d}_00.jpg", who, camera) for i, (who, camera) in enumerate(people)]
        for i, (name, _, _) in enumerate(rows):
            picture(folder / inside / name, 100 * seed + i)
        (folder / inside / "Thumbs.db").write_bytes(b"x")
        (folder / inside / f"._{rows[0][0]}").write_bytes(b"x")
        found[inside] = sorted(rows)
    return found


def msmt17(folder: Path) -> dict[str, list[tuple[str, int, int]]]:
    """Lists of names and identities, counted from 0 on both sides, in folders of identities."""
    rng = np.random.default_rng(4)
    found: dict[str, list[tuple[str, int, int]]] = {}
    for number, (side, people, each) in enumerate((("train", 3, 3), ("val", 3, 1), ("query", 4, 2), ("gallery", 4, 5))):
        rows = []
        for who, i in itertools.product(range(people), range(each)):
            camera = int(rng.integers(1, 4))
            rows.append((f"{who:04d}/{who:04d}_{number}{i:02d}_{camera:02d}_0303morning_{i:04d}_0.jpg", who, camera))
        found[side] = rows
        for seed, (name, _, _) in enumerate(rows):
            picture(folder / ("test" if number > 1 else "train") / name, seed)
        lines(folder / f"list_{side}.txt", [f"{name} {who}" for name, who, _ in rows], "\r\n")
    return found


def veri(folder: Path) -> dict[str, list]:
    """Queries that are in the gallery, too; lists of answers that count from 1 and end in blanks."""
    gallery = [
        (f"{who:04d}_c{camera:03d}_{i:08d}_0.jpg", who, camera)
        for who in (2, 5, 9)
        for i, camera in enumerate((1, 1, 2, 3))
    ]
    asking = [gallery[0], gallery[2], gallery[5], gallery[11]]
    training = [(f"{who:04d}_c001_{i:08d}_0.jpg", who, 1) for who in (1, 3) for i in range(3)]
    right, junk = [], []
    for _, who, camera in asking:
        same = [place for place, (_, other, _) in enumerate(gallery) if other == who]
        right.append([place for place in same if gallery[place][2] != camera])
        junk.append([place for place in same if gallery[place][2] == camera])
    for side, rows in (("query", asking), ("test", gallery), ("train", training)):
        for seed, (name, _, _) in enumerate(rows):
            picture(folder / f"image_{side}" / name, seed)
        lines(folder / f"name_{side}.txt", [name for name, _, _ in rows])
    for file, lists in (("gt_index.txt", right), ("jk_index.txt", junk)):
        lines(folder / file, [" ".join(str(place + 1) for place in one) + " " for one in lists], "\r\n")
    return {"gallery": gallery, "asking": asking, "right": right, "junk": junk}


def holidays(folder: Path) -> list[str]:
    """Scenes of one to four more photographs, and what macOS leaves in folders."""
    names = [f"{1000 + scene}{i:02d}.jpg" for scene in range(5) for i in range(2 + scene % 4)]
    for seed, name in enumerate(names):
        picture(folder / "jpg" / name, seed)
    (folder / "jpg" / "._100000.jpg").write_bytes(b"x")
    return names


def ukbench(folder: Path, things: int = 4) -> list[str]:
    names = [f"ukbench{i:05d}.jpg" for i in range(4 * things)]
    for seed, name in enumerate(names):
        picture(folder / "full" / name, seed)
    return names


def copydays(folder: Path) -> dict[str, list[str]]:
    """Some attacks; strong ones are several of one original, and none of another."""
    originals = [f"{2000 + i}00.jpg" for i in range(5)]
    found = {"original": originals, "jpegqual/3": originals, "crops/50": originals}
    found["strong"] = ["200001.jpg", "200002.jpg", "200301.jpg"]
    for seed, (inside, names) in enumerate(found.items()):
        for i, name in enumerate(names):
            picture(folder / inside / name, 10 * seed + i)
    return found


def inat2018(folder: Path) -> list[tuple[str, str]]:
    """Two lists of paths; a group and a species are the class."""
    rows = [
        (f"train_val2018/{group}/{species}/{species}{i}a.jpg", f"{group}/{species}")
        for group, species in (("Aves", 11), ("Aves", 12), ("Plantae", 13), ("Plantae", 11))
        for i in range(3)
    ]
    for seed, (name, _) in enumerate(rows):
        picture(folder / name, seed)
    for file, part in (("Inaturalist_train_set1.txt", rows[:6]), ("Inaturalist_test_set1.txt", rows[6:])):
        lines(folder / "Inat_dataset_splits" / file, [name for name, _ in part], "\r\n")
    return rows


def gldv2(folder: Path) -> dict[str, list[str]]:
    """A solution with public, private and ignored queries; pictures three folders deep; landmarks that train."""
    index = [f"{i:016x}" for i in range(1000, 1012)]
    asking = {f"{i:016x}": right for i, right in ((5, index[:3]), (6, index[3:4]), (7, index[2:9]))}
    ignored = f"{8:016x}"
    taught = [f"{i:016x}" for i in range(2000, 2004)]
    sides = (("index", index), ("test", [*asking, ignored]), ("train", taught))
    for seed, (side, names) in enumerate(sides):
        for i, name in enumerate(names):
            picture(folder / side / name[0] / name[1] / name[2] / f"{name}.jpg", 100 * seed + i)
    lines(folder / "index.csv", ["id", *index])
    lines(folder / "train.csv", ["id,url,landmark_id", *(f"{name},http://x,{i // 2}" for i, name in enumerate(taught))])
    usages = dict(zip(asking, ("Public", "Private", "Private"), strict=True))
    rows = [f"{name},{' '.join(right)},{usages[name]}" for name, right in asking.items()]
    lines(folder / "retrieval_solution_v2.1.csv", ["id,images,Usage", *rows, f"{ignored},None,Ignored"])
    return asking | {"index": index}


def disc21(folder: Path) -> dict[str, list[str]]:
    """Queries that are copies of a reference, of none, and one of two; the ground truth names those of none alone."""
    references, asking = [f"R{i:06d}" for i in range(9)], [f"Q{i:05d}" for i in range(6)]
    right = {name: [] for name in asking} | {
        "Q00001": ["R000004"],
        "Q00003": ["R000000"],
        "Q00005": ["R000002", "R000007"],
    }
    for seed, (side, names) in enumerate((("queries", asking), ("references", references), ("train", ["T000000"]))):
        for i, name in enumerate(names):
            picture(folder / "images" / side / f"{name}.jpg", 100 * seed + i)
    rows = [f"{name},{reference}" for name, its in right.items() for reference in its or [""]]
    lines(folder / "list_files" / "public_ground_truth.csv", ["query_id,reference_id", *rows], "\r\n")
    return right


def hashing_lists(folder: Path, labels: int) -> dict[str, list[tuple[str, list[int]]]]:
    """Three lists of names and flags; what trains is in the database, too; a picture without any label."""
    rng = np.random.default_rng(6)
    rows = [
        (f"images/{i:04d}_{rng.integers(10**6)}.jpg", (rng.random(labels) < 0.08).astype(int).tolist())
        for i in range(12)
    ]
    rows[2][1][:] = [0] * labels
    for i in (0, 1, 5, 7):
        rows[i][1][3] = 1
    for seed, (name, _) in enumerate(rows):
        picture(folder / name, seed)
    found = {"test.txt": rows[:4], "database.txt": rows[4:11], "train.txt": [rows[4], rows[11]]}
    for file, part in found.items():
        lines(folder / file, [" ".join([name, *map(str, flags)]) for name, flags in part], "\r\n")
    return found
