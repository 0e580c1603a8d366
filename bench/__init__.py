"""The figures of the README, each a program that can be run again."""
