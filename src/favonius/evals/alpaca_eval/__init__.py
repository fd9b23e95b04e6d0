"""AlpacaEval 1 and 2: a judge compares a model's answers with a reference's on one set of instructions.

Facts: Li et al. 2023 (AlpacaEval), Dubois et al. 2024 (length control, arXiv 2404.04475). A preference is stored as 1
(the reference is wholly better) to 2 (the model is wholly better); inside this package it is the share from 0 to 1.
"""
