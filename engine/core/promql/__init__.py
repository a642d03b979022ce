"""PromQL: text to a frozen plan (`compile`), and a plan over columns to values (`evaluate`)."""
