# shellcheck shell=bash
dist() { :; }
