"""Measurements that decisions about training and novelty rest on."""
