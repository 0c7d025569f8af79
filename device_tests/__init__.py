"""Tests that run on the device, with the base install and pytest; they import the package and nothing else of this repository."""
