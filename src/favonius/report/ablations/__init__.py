"""The paper's ablations with this run's models: Table 3 and Figure 3, drawn where a run has what they compare."""
