"""Tiny slides written in the genuine layouts."""

import gzip
import json
import warnings

import anndata
import h5py
import numpy as np
import pandas as pd
import tifffile
from PIL import Image
from scipy.sparse import csc_matrix, csr_matrix

GENES = ["ACTB", "GAPDH", "ERBB2", "KRT19"]
ARRAY = [(x, y) for x in (2, 3, 4) for y in (5, 6)]  # three columns, two rows
SIZE = (640, 680)  # 20 px a pitch in both directions


def picture(size=SIZE, seed=0):
    """(height, width, 3) noise that JPEG-free formats keep exactly."""
    return np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)


def counts(seed=0, n_spots=6, n_genes=4):
    return np.random.default_rng(seed).poisson(3, (n_spots, n_genes)).astype(np.int32)


def write_her2st(root, section="A1", matrix=None, *, image=True, array=ARRAY, genes=GENES, seed=0):
    """One section; returns its counts."""
    matrix = counts(seed) if matrix is None else matrix
    data = root / "data"
    for folder in ("ST-cnts", "ST-spotfiles", f"ST-imgs/{section[0]}/{section}"):
        (data / folder).mkdir(parents=True, exist_ok=True)
    with gzip.open(data / f"ST-cnts/{section}.tsv.gz", "wt") as file:
        file.write("\t" + "\t".join(genes) + "\n")
        for (x, y), row in zip(array, matrix, strict=True):
            file.write(f"{x}x{y}\t" + "\t".join(str(value) for value in row) + "\n")
    write_spots(root, section, array)
    if image:
        Image.fromarray(picture(seed=seed)).save(data / f"ST-imgs/{section[0]}/{section}/he.png", compress_level=1)
    return np.asarray(matrix)


def write_spots(root, section="A1", array=ARRAY, shift=0.1, pitch=(20.0, 20.0), **more):
    new = np.array(array, dtype=float) + shift
    table = pd.DataFrame(array, columns=["x", "y"])
    table["new_x"], table["new_y"] = new.T
    table["pixel_x"], table["pixel_y"] = (np.round((new - 1) * pitch, 2)).T
    table["selected"] = 1
    for column, values in more.items():
        table[column] = values
    table.to_csv(root / f"data/ST-spotfiles/{section}_selection.tsv", sep="\t", index=False)


STAGGERED = [(x, y) for x in range(2, 8) for y in range(2, 8) if (x + y) % 2 == 0]
IDS = [f"ENSMUSG0000000000{i}.{i}" for i in range(1, 5)]


def write_st(root, section="S1", matrix=None, *, array=STAGGERED, ids=IDS, outside=2, seed=0, names=None):
    """One section as STUtility keeps it: every position counted, the first ``outside`` not selected; returns counts.

    ``names`` are those of counts, spots and picture where they are others.
    """
    root.mkdir(parents=True, exist_ok=True)
    counted, spots, image = names or (f"{section}.tsv.gz", f"alignment_table_{section}.tsv.gz", f"{section}.jpg")
    matrix = counts(seed, len(array), len(ids)) if matrix is None else np.asarray(matrix)
    named = pd.DataFrame(matrix, index=[f"{x}x{y}" for x, y in array], columns=ids)
    named.to_csv(root / counted, sep="\t")
    table = pd.DataFrame(array, columns=["x", "y"])
    table["new_x"], table["new_y"] = np.array(array, dtype=float).T
    table["pixel_x"], table["pixel_y"] = (np.array(array) * (30.0, 40.0)).T
    table["selected"] = [0] * outside + [1] * (len(array) - outside)
    table.to_csv(root / spots, sep="\t", index=False)
    Image.fromarray(picture((300, 350), seed)).save(root / image)
    write_genes(root / "genes.tsv", ids)
    return matrix[outside:]


def write_genes(path, ids=IDS, names=("Actb", "mt-Co1", "Gapdh", "Krt19", "Sox2", "Tbr1", "Reln", "Pax6")):
    table = pd.DataFrame({"gene_id": ids, "gene_type": "protein_coding", "gene_name": names[: len(ids)]})
    table.to_csv(path, sep="\t", index=False)


def hest_adata(matrix=None, genes=GENES, seed=0):
    """As HEST reads legacy arrays: array_row holds x. Centres are 20 px apart."""
    matrix = counts(seed) if matrix is None else matrix
    array = np.array(ARRAY)
    obs = pd.DataFrame(
        {"in_tissue": True, "array_row": array[:, 0], "array_col": array[:, 1]},
        index=[f"{x:03d}x{y:03d}" for x, y in ARRAY],
    )
    adata = anndata.AnnData(csr_matrix(matrix), obs=obs, obsm={"spatial": (array - 1.0) * 20})
    adata.var_names = list(genes)
    return adata


def write_hest(root, id_="S1", adata=None, *, patches=range(6), wsi=False, patient="Patient A", seed=0, **metadata):
    """One sample; returns its AnnData."""
    adata = hest_adata(seed=seed) if adata is None else adata
    for folder in ("st", "patches", "wsis", "metadata"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    adata.write_h5ad(root / f"st/{id_}.h5ad")
    said = {"dataset_title": "A study", "id": id_, "patient": patient}
    said |= {"pixel_size_um_estimated": 10.0, "pixel_size_um_embedded": 0.3}
    said |= {"fullres_px_width": SIZE[0], "fullres_px_height": SIZE[1]}
    (root / f"metadata/{id_}.json").write_text(json.dumps(said | metadata))
    if patches is not None:
        write_patches(root / f"patches/{id_}.h5", adata, list(patches))
    if wsi:
        tifffile.imwrite(root / f"wsis/{id_}.tif", picture(seed=seed), tile=(64, 64), photometric="rgb")
    return adata


def write_patches(path, adata, rows, side=8, src=16, pixel_size=10.0):
    """Patch of row i has the colour i; its corner lies half of ``src`` before the centre."""
    names = [str(adata.obs_names[row]) for row in rows]
    corners = np.array([adata.obsm["spatial"][row] - src / 2 for row in rows]).astype(np.int64)
    attributes = {"patch_size_src": src, "patch_size_target": side, "downsample": src / side, "pixel_size": pixel_size}
    with h5py.File(path, "w") as file:
        img = np.stack([np.full((side, side, 3), row, dtype=np.uint8) for row in rows])
        file["img"], file["coords"] = img, corners
        file.create_dataset("barcode", data=np.array(names, dtype=object)[:, None], dtype=h5py.string_dtype())
        for key in ("img", "coords"):
            file[key].attrs.update(attributes)


BARCODES = [f"AAAC{i:012d}-1" for i in range(8)]


def visium(barcodes=BARCODES):
    """Positions of a hexagonal array whose pixel is 2 um: columns 25 px, rows 43.3 px apart."""
    rows = [(barcode, 1, i // 4, 2 * (i % 4) + (i // 4) % 2) for i, barcode in enumerate(barcodes)]
    table = pd.DataFrame(rows, columns=["barcode", "in_tissue", "array_row", "array_col"])
    table["pxl_row_in_fullres"] = 100 + table["array_row"] * 25 * 3**0.5
    table["pxl_col_in_fullres"] = 100 + table["array_col"] * 25
    return table


def write_spaceranger(root, slide="151673", matrix=None, *, positions=None, header=False, genes=GENES, hires=False):
    """One slide; returns its counts."""
    matrix = counts(n_spots=len(BARCODES), n_genes=len(genes)) if matrix is None else matrix
    spatial = root / slide / "spatial"
    spatial.mkdir(parents=True, exist_ok=True)
    write_matrix(root / slide / "filtered_feature_bc_matrix.h5", matrix, genes)
    name = "tissue_positions.csv" if header else "tissue_positions_list.csv"
    (visium() if positions is None else positions).to_csv(spatial / name, header=header, index=False)
    scales = {"tissue_hires_scalef": 0.5, "tissue_lowres_scalef": 0.1, "spot_diameter_fullres": 32.0}
    (spatial / "scalefactors_json.json").write_text(json.dumps(scales))
    Image.fromarray(picture((60, 50))).save(spatial / "tissue_lowres_image.png", compress_level=1)
    if hires:
        Image.fromarray(picture((300, 250))).save(spatial / "tissue_hires_image.png", compress_level=1)
    return np.asarray(matrix)


def write_matrix(path, matrix, genes=GENES, barcodes=BARCODES, kinds=None):
    stored = csc_matrix(np.asarray(matrix).T)
    kinds = kinds or ["Gene Expression"] * len(genes)
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        for key in ("data", "indices", "indptr"):
            group[key] = getattr(stored, key)
        group["shape"] = np.array(stored.shape)
        group["barcodes"] = np.array(barcodes, dtype="S24")
        group["features/name"] = np.array(genes, dtype="S15")
        group["features/id"] = np.array([f"ENSG{i}" for i in range(len(genes))], dtype="S15")
        group["features/feature_type"] = np.array(kinds, dtype="S20")


PICTURES = {"hires": (300, 250), "lowres": (60, 50)}  # of a slide of 600 x 500 px
SCALES = {"tissue_hires_scalef": 0.5, "tissue_lowres_scalef": 0.1, "spot_diameter_fullres": 27.5}


def visium_adata(seed=0, library="V1", barcodes=BARCODES, genes=GENES, images=PICTURES):
    """As scanpy.read_visium leaves it: spots on the array of :func:`visium`, pictures of 0 to 1 in ``uns``."""
    table = visium(barcodes).set_index("barcode")
    adata = anndata.AnnData(csr_matrix(counts(seed, len(barcodes), len(genes)).astype(np.float32)))
    adata.obs = table[["in_tissue", "array_row", "array_col"]].rename_axis(None)
    adata.var_names = list(genes)
    adata.obsm["spatial"] = table[["pxl_col_in_fullres", "pxl_row_in_fullres"]].to_numpy()
    shown = {name: (picture(size, seed) / np.float32(255)).astype(np.float32) for name, size in images.items()}
    adata.uns["spatial"] = {library: {"images": shown, "scalefactors": dict(SCALES), "metadata": {}}}
    return adata


def joined(parts, label="library_id", **options):
    """Several slides in one file, as squidpy's users join them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one barcode on several slides, as there is
        return anndata.concat(parts, label=label, **{"uns_merge": "unique", **options})


def truncate(path, share=0.6):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
