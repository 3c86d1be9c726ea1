"""What a flower is: network, schedule, sampling, training, evaluation.

Everything here is backend-agnostic Keras 3 and knows nothing of Redis or HTTP.
"""
