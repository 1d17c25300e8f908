"""DICOM results: a structured report and a secondary capture in the study of their source, and a listener for both."""
