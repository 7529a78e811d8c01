"""A real model: is a biopsy benign or malignant, from measurements of its cell nuclei.

The data are the 569 real measurements of the Wisconsin Diagnostic Breast Cancer set, which
scikit-learn brings along: https://doi.org/10.24432/C5DW2B.
"""
