"""Every result shows itself as a table and converts to pandas."""

import addersim


def test_results_are_tables(example, qnet, images):
    twin = addersim.quantize(addersim.example_network(adder=False), images)
    results = {
        "Network": example,
        "QuantizedNetwork": qnet,
        "Trace": addersim.simulate(qnet, images),
        "OpCounts": addersim.count(qnet),
        "Validation": addersim.validate(example, qnet, images),
        "Cost": addersim.evaluate(qnet, "adder_16x16"),
        "Comparison": addersim.compare(qnet, twin),
    }
    for name, result in results.items():
        frame = result.to_pandas()
        assert len(frame) > 1
        assert repr(result).startswith(f"{name}\n") and str(frame.columns[0]) in repr(result)
        assert "<table" in result._repr_html_()
