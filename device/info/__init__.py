"""The description of a phone: model, SoC, CPUs, battery, sensors, tools; and the tables of known SoCs."""
