// One output of an adder (or multiplier) datapath, bit for bit as addersim/kernels/reference.py defines it.
//
//   T operand pairs -> T distances or products -> adder tree -> optional requantisation -> accumulator
//
// `start` loads `preload` and clears the flags; every later clock with `valid` adds one step: T input channels at
// one kernel tap. The accumulator and the flags are the only flip-flops; the other registers of the datapath are
// words of stated width between them, where a faster machine would put its pipeline stages.
//
// Operands and results
//   x_t, w_t      T words each, input channel t of the step in place t; T is named for the tree's inputs
//   enable_t      0 for a leaf beyond the last channel: it contributes 0 and sets no flag
//   preload       what the accumulator starts at, signed; it passes the accumulator's own register
//   acc           the raw accumulator: the sum of magnitudes, not yet negated, where NEGATIVE = 0
//   overflow      sticky since `start`: a register of that sort met a value that it has no code for;
//                 bit 0 difference, 1 leaf, 2 tree, 3 requantise, 4 accumulator
//
// Parameters. A register has _BITS (its sign bit included), _SIGNED, and _SATURATE: 0 wraps, 1 saturates.
//   MULTIPLIER    0: a leaf is |x - (w << WEIGHT_SHIFT)|; 1: x * w, and DIFFERENCE_* up to NEGATIVE mean nothing
//   DIFFERENCE_*  register of x - (w << WEIGHT_SHIFT), always signed
//   CIRCUIT       of the absolute value: 0 two_subtractors, 1 xor_carry, 2 comparator; same bits, other gates
//   NEGATIVE      0 carries |x - w|, 1 carries -|x - w|
//   LEAF_*        register of a leaf
//   T, TREE_*     inputs of the tree, any number from 1 to 4096; its level l adds nodes 2i and 2i+1, an odd last node
//                 passes on. Level l has TREE_BITS[8*l +: 8], TREE_SIGNED[l] and TREE_SATURATE[l]
//   CUT, CUT_*    1: the tree sum is shifted right by CUT_SHIFT, rounded and put into a register of its own;
//                 CUT_ROUNDING: 0 floor, 1 half_up, 2 half_even, 3 half_away, 4 to_zero
//   ACC_*         register of the running sum
//   PRELOAD_BITS  width of the signed port; the default holds everything the accumulator does
//
// addersim.rtl.parameters(datapath) returns these for a Datapath.

module adder_pe #(
    parameter int MULTIPLIER = 0,
    parameter int X_BITS = 8,
    parameter int X_SIGNED = 0,
    parameter int W_BITS = 8,
    parameter int W_SIGNED = 0,
    parameter int DIFFERENCE_BITS = 9,
    parameter int DIFFERENCE_SATURATE = 1,
    parameter int WEIGHT_SHIFT = 0,
    parameter int CIRCUIT = 1,
    parameter int NEGATIVE = 0,
    parameter int LEAF_BITS = 8,
    parameter int LEAF_SIGNED = 0,
    parameter int LEAF_SATURATE = 1,
    parameter int T = 1,
    parameter bit [95:0] TREE_BITS = 0,
    parameter bit [11:0] TREE_SIGNED = 0,
    parameter bit [11:0] TREE_SATURATE = 0,
    parameter int CUT = 0,
    parameter int CUT_SHIFT = 0,
    parameter int CUT_ROUNDING = 0,
    parameter int CUT_BITS = 8,
    parameter int CUT_SIGNED = 0,
    parameter int CUT_SATURATE = 1,
    parameter int ACC_BITS = 16,
    parameter int ACC_SIGNED = 0,
    parameter int ACC_SATURATE = 1,
    parameter int PRELOAD_BITS = ACC_BITS + 1
) (
    input  logic                           clk,
    input  logic                           rst,
    input  logic                           start,
    input  logic                           valid,
    input  logic        [    T*X_BITS-1:0] x_t,
    input  logic        [    T*W_BITS-1:0] w_t,
    input  logic        [           T-1:0] enable_t,
    input  logic signed [PRELOAD_BITS-1:0] preload,
    output logic        [    ACC_BITS-1:0] acc,
    output logic        [             4:0] overflow
);
    localparam int LEVELS = $clog2(T);

    // Width of the signed word that holds any node at the input of a tree level, passed on or added.
    function automatic integer node_bits(input integer level);
        integer below, bits;
        node_bits = LEAF_BITS + 1;
        for (below = 0; below < level; below = below + 1) begin
            bits = TREE_BITS[8*below+:8];
            if (bits + 1 > node_bits) node_bits = bits + 1;
        end
    endfunction

    localparam int NODE_BITS = node_bits(LEVELS);
    localparam int STEP_BITS = CUT != 0 ? CUT_BITS + 1 : NODE_BITS;
    localparam int TERM_BITS = STEP_BITS > ACC_BITS + 1 ? STEP_BITS : ACC_BITS + 1;
    localparam int SUM_BITS = TERM_BITS + 1 > PRELOAD_BITS ? TERM_BITS + 1 : PRELOAD_BITS;

    wire signed [NODE_BITS-1:0] node[0:(LEVELS+1)*T-1];  // node i of level l in place l*T + i; level 0 is the leaves
    wire [T-1:0] difference_missed, leaf_missed;
    wire [(LEVELS+1)*T-1:0] tree_missed;
    wire signed [STEP_BITS-1:0] step;
    wire cut_missed, acc_missed;
    wire signed [SUM_BITS-1:0] sum;
    wire signed [ACC_BITS:0] acc_value = {ACC_SIGNED != 0 && acc[ACC_BITS-1], acc};
    wire signed [ACC_BITS:0] acc_next;

    genvar t, level, i;
    generate
        for (t = 0; t < T; t = t + 1) begin : leaves
            wire signed [LEAF_BITS:0] leaf;
            adder_pe_leaf #(
                .MULTIPLIER(MULTIPLIER), .X_BITS(X_BITS), .X_SIGNED(X_SIGNED), .W_BITS(W_BITS), .W_SIGNED(W_SIGNED),
                .DIFFERENCE_BITS(DIFFERENCE_BITS), .DIFFERENCE_SATURATE(DIFFERENCE_SATURATE),
                .WEIGHT_SHIFT(WEIGHT_SHIFT), .CIRCUIT(CIRCUIT), .NEGATIVE(NEGATIVE),
                .BITS(LEAF_BITS), .SIGNED(LEAF_SIGNED), .SATURATE(LEAF_SATURATE)
            ) leaf_of (
                .x(x_t[t*X_BITS+:X_BITS]), .w(w_t[t*W_BITS+:W_BITS]), .enable(enable_t[t]), .leaf(leaf),
                .difference_missed(difference_missed[t]), .leaf_missed(leaf_missed[t])
            );
            assign node[t] = leaf;
            assign tree_missed[t] = 1'b0;
        end

        for (level = 0; level < LEVELS; level = level + 1) begin : levels
            localparam int NODES = (T + (1 << level) - 1) >> level;  // at the level's input
            localparam int IN_BITS = node_bits(level);
            localparam int BITS = TREE_BITS[8*level+:8];
            for (i = 0; i < T; i = i + 1) begin : nodes
                localparam int HERE = level * T + 2 * i, NEXT = (level + 1) * T + i;
                if (2 * i + 1 < NODES) begin : pair
                    wire signed [IN_BITS-1:0] left = node[HERE][IN_BITS-1:0];
                    wire signed [IN_BITS-1:0] right = node[HERE+1][IN_BITS-1:0];
                    wire signed [IN_BITS:0] total = left + right;
                    wire signed [BITS:0] fitted;
                    adder_pe_fit #(
                        .IN_BITS(IN_BITS + 1), .BITS(BITS),
                        .SIGNED(TREE_SIGNED[level]), .SATURATE(TREE_SATURATE[level])
                    ) fit (.value(total), .fitted(fitted), .missed(tree_missed[NEXT]));
                    assign node[NEXT] = fitted;
                end else begin : rest
                    if (2 * i < NODES) assign node[NEXT] = node[HERE];
                    else assign node[NEXT] = '0;
                    assign tree_missed[NEXT] = 1'b0;
                end
            end
        end

        if (CUT != 0) begin : cut
            localparam int ROUNDED_BITS = (NODE_BITS > CUT_SHIFT ? NODE_BITS : CUT_SHIFT + 1) + 1;
            wire signed [ROUNDED_BITS-1:0] rounded;
            adder_pe_round #(
                .IN_BITS(NODE_BITS), .SHIFT(CUT_SHIFT), .ROUNDING(CUT_ROUNDING), .OUT_BITS(ROUNDED_BITS)
            ) round (.value(node[LEVELS*T]), .rounded(rounded));
            adder_pe_fit #(
                .IN_BITS(ROUNDED_BITS), .BITS(CUT_BITS), .SIGNED(CUT_SIGNED), .SATURATE(CUT_SATURATE)
            ) fit (.value(rounded), .fitted(step), .missed(cut_missed));
        end else begin : whole
            assign step = node[LEVELS*T];
            assign cut_missed = 1'b0;
        end
    endgenerate

    assign sum = start ? SUM_BITS'(preload) : SUM_BITS'(acc_value) + SUM_BITS'(step);
    adder_pe_fit #(
        .IN_BITS(SUM_BITS), .BITS(ACC_BITS), .SIGNED(ACC_SIGNED), .SATURATE(ACC_SATURATE)
    ) accumulator (.value(sum), .fitted(acc_next), .missed(acc_missed));

    always_ff @(posedge clk) begin
        if (rst) begin
            acc <= '0;
            overflow <= '0;
        end else if (start) begin
            acc <= acc_next[ACC_BITS-1:0];
            overflow <= {acc_missed, 4'b0000};
        end else if (valid) begin
            acc <= acc_next[ACC_BITS-1:0];
            overflow <= overflow | {acc_missed, cut_missed, |tree_missed, |leaf_missed, |difference_missed};
        end
    end
endmodule

// |x - w|, -|x - w| or x * w of one operand pair in the leaf's register; 0 if not enabled.
module adder_pe_leaf #(
    parameter int MULTIPLIER = 0,
    parameter int X_BITS = 8,
    parameter int X_SIGNED = 0,
    parameter int W_BITS = 8,
    parameter int W_SIGNED = 0,
    parameter int DIFFERENCE_BITS = 9,
    parameter int DIFFERENCE_SATURATE = 1,
    parameter int WEIGHT_SHIFT = 0,
    parameter int CIRCUIT = 1,
    parameter int NEGATIVE = 0,
    parameter int BITS = 8,
    parameter int SIGNED = 0,
    parameter int SATURATE = 1
) (
    input  logic        [X_BITS-1:0] x,
    input  logic        [W_BITS-1:0] w,
    input  logic                     enable,
    output logic signed [    BITS:0] leaf,
    output logic                     difference_missed,
    output logic                     leaf_missed
);
    localparam int VALUE_BITS = MULTIPLIER != 0 ? X_BITS + W_BITS + 2 : DIFFERENCE_BITS + 1;
    wire signed [X_BITS:0] x_value = {X_SIGNED != 0 && x[X_BITS-1], x};
    wire signed [W_BITS:0] w_value = {W_SIGNED != 0 && w[W_BITS-1], w};
    wire signed [VALUE_BITS-1:0] value;
    wire signed [BITS:0] fitted;
    wire difference_miss, leaf_miss;

    generate
        if (MULTIPLIER != 0) begin : product
            assign value = x_value * w_value;
            assign difference_miss = 1'b0;
        end else begin : distance
            localparam int SHIFTED_BITS = W_BITS + WEIGHT_SHIFT;
            localparam int LONGER = X_BITS > SHIFTED_BITS ? X_BITS : SHIFTED_BITS;
            localparam int EXACT_BITS = LONGER + (X_SIGNED != W_SIGNED ? 2 : 1);
            wire signed [SHIFTED_BITS:0] w_shifted = {w_value, {WEIGHT_SHIFT{1'b0}}};
            wire [DIFFERENCE_BITS-1:0] magnitude;
            adder_pe_distance #(
                .IN_BITS(LONGER + 1), .EXACT_BITS(EXACT_BITS), .BITS(DIFFERENCE_BITS),
                .SATURATE(DIFFERENCE_SATURATE), .CIRCUIT(CIRCUIT)
            ) distance_of (
                .x((LONGER + 1)'(x_value)), .w((LONGER + 1)'(w_shifted)),
                .magnitude(magnitude), .missed(difference_miss)
            );
            wire signed [VALUE_BITS-1:0] positive = {1'b0, magnitude};
            assign value = NEGATIVE != 0 ? -positive : positive;
        end
    endgenerate

    adder_pe_fit #(.IN_BITS(VALUE_BITS), .BITS(BITS), .SIGNED(SIGNED), .SATURATE(SATURATE)) fit (
        .value(value), .fitted(fitted), .missed(leaf_miss)
    );
    assign leaf = fitted & {(BITS + 1) {enable}};
    assign difference_missed = difference_miss & enable;
    assign leaf_missed = leaf_miss & enable;
endmodule

// The absolute value of x - w cut to a signed register of BITS, which may be narrower than the EXACT_BITS that
// every difference fits. All circuits give the same bits, 2**(BITS-1) of the register's least value included.
module adder_pe_distance #(
    parameter int IN_BITS = 9,
    parameter int EXACT_BITS = 9,
    parameter int BITS = 9,
    parameter int SATURATE = 1,
    parameter int CIRCUIT = 1
) (
    input  logic signed [IN_BITS-1:0] x,
    input  logic signed [IN_BITS-1:0] w,
    output logic        [   BITS-1:0] magnitude,
    output logic                      missed
);
    localparam int WIDE_BITS = EXACT_BITS > BITS + 1 ? EXACT_BITS : BITS + 1;
    localparam bit signed [WIDE_BITS-1:0] ONE = 1;
    localparam bit signed [WIDE_BITS-1:0] LARGEST = ONE << (BITS - 1);  // magnitude of the register's least value

    generate
        if (CIRCUIT == 0) begin : two_subtractors
            wire signed [WIDE_BITS-1:0] forward = WIDE_BITS'(x) - WIDE_BITS'(w);
            wire signed [WIDE_BITS-1:0] backward = WIDE_BITS'(w) - WIDE_BITS'(x);
            wire signed [BITS:0] difference;
            adder_pe_fit #(.IN_BITS(WIDE_BITS), .BITS(BITS), .SIGNED(1), .SATURATE(SATURATE)) fit (
                .value(forward), .fitted(difference), .missed(missed)
            );
            wire [BITS-1:0] opposite = SATURATE != 0 && missed ? LARGEST[BITS-1:0] : backward[BITS-1:0];
            assign magnitude = difference[BITS] ? opposite : difference[BITS-1:0];
        end else if (CIRCUIT == 1) begin : xor_carry
            wire signed [WIDE_BITS-1:0] forward = WIDE_BITS'(x) - WIDE_BITS'(w);
            wire signed [BITS:0] difference;
            adder_pe_fit #(.IN_BITS(WIDE_BITS), .BITS(BITS), .SIGNED(1), .SATURATE(SATURATE)) fit (
                .value(forward), .fitted(difference), .missed(missed)
            );
            wire negative = difference[BITS];
            assign magnitude = (difference[BITS-1:0] ^ {BITS{negative}}) + BITS'(negative);
        end else begin : comparator
            wire less = x < w;
            wire signed [WIDE_BITS-1:0] larger = less ? w : x;
            wire signed [WIDE_BITS-1:0] smaller = less ? x : w;
            wire signed [WIDE_BITS-1:0] distance = larger - smaller;
            wire [BITS-1:0] low = distance[BITS-1:0];
            if (BITS >= EXACT_BITS) begin : exact
                assign missed = 1'b0;
                assign magnitude = low;
            end else begin : narrow
                wire signed [WIDE_BITS-1:0] limit = less ? LARGEST : LARGEST - ONE;
                assign missed = distance > limit;
                if (SATURATE != 0) assign magnitude = missed ? limit[BITS-1:0] : low;
                // A wrapped word has a sign again, and its absolute value does not depend on that of x - w.
                else assign magnitude = low[BITS-1] ? -low : low;
            end
        end
    endgenerate
endmodule

// value / 2**SHIFT rounded to an integer: one addition in front of the shift, whatever the mode.
module adder_pe_round #(
    parameter int IN_BITS = 8,
    parameter int SHIFT = 1,
    parameter int ROUNDING = 1,
    parameter int OUT_BITS = 9  // more than IN_BITS and than SHIFT + 1, so that the addition is exact
) (
    input  logic signed [ IN_BITS-1:0] value,
    output logic signed [OUT_BITS-1:0] rounded
);
    generate
        if (SHIFT == 0) begin : integral
            assign rounded = value;
        end else begin : fractional
            localparam bit signed [OUT_BITS-1:0] ONE = 1;
            localparam bit signed [OUT_BITS-1:0] HALF = ONE << (SHIFT - 1);
            localparam bit signed [OUT_BITS-1:0] BELOW_ONE = (HALF << 1) - ONE;
            wire signed [OUT_BITS-1:0] wide = value;
            wire signed [OUT_BITS-1:0] nudge;
            wire negative = value[IN_BITS-1];
            if (ROUNDING == 0) assign nudge = '0;
            else if (ROUNDING == 1) assign nudge = HALF;
            else if (ROUNDING == 2) assign nudge = wide[SHIFT] ? HALF : HALF - ONE;  // a tie goes up from an odd floor
            else if (ROUNDING == 3) assign nudge = negative ? HALF - ONE : HALF;
            else assign nudge = negative ? BELOW_ONE : '0;
            assign rounded = (wide + nudge) >>> SHIFT;
        end
    endgenerate
endmodule

// A register's code for a value, read back as a signed word of BITS + 1: signed and unsigned registers then
// connect alike, and the spare bit is a copy of the sign or 0.
module adder_pe_fit #(
    parameter int IN_BITS = 9,
    parameter int BITS = 8,
    parameter int SIGNED = 0,
    parameter int SATURATE = 1
) (
    input  logic signed [IN_BITS-1:0] value,
    output logic signed [     BITS:0] fitted,
    output logic                      missed
);
    localparam int WIDE_BITS = IN_BITS > BITS + 1 ? IN_BITS : BITS + 1;
    localparam bit signed [BITS:0] ONE = 1;
    localparam bit signed [BITS:0] MAX = (ONE << (SIGNED != 0 ? BITS - 1 : BITS)) - ONE;
    localparam bit signed [BITS:0] MIN = SIGNED != 0 ? ~MAX : '0;
    wire signed [WIDE_BITS-1:0] wide = value;
    wire signed [BITS:0] wrapped = {SIGNED != 0 && wide[BITS-1], wide[BITS-1:0]};
    assign missed = wide != WIDE_BITS'(wrapped);
    assign fitted = SATURATE != 0 && missed ? (wide[WIDE_BITS-1] ? MIN : MAX) : wrapped;
endmodule
