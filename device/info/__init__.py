"""What a phone is: model, SoC, CPU clusters, battery, sensors; what is known about its SoC."""
