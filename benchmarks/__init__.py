"""How fast Bouquet is: measured as ratios within one run, since machines differ and are busy."""
